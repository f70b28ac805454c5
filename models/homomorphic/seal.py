"""BFV by SEAL (through TenSEAL's low-level API), as `protocols.blind.pairwise.linear` wants it.

Parameters: degree 8192, plain texts mod 2^K (coefficients, no slots), data modulus q = q_0 q_1 of 120 bits, 40 bits
more for keys: 160 in all, where 218 are allowed for 128 bits of security (homomorphicencryption.org's table, which
SEAL enforces). The secret is ternary, errors are SEAL's centred binomial ones of deviation 3.24.

What P could learn from a ciphertext that M computed, since it holds the key, is in its noise and its second half:
- second half: M adds a fresh encryption of zero under P's public key, so it is pseudorandom to P too (RLWE);
- noise: M adds e uniform in -F..F-1, F = 2^93, to every coefficient. Two sums that differ by delta are, e added, at
  a statistical distance of |delta| / 2F. P drew its errors at random, so on the average over them
      E |delta| <= 3.3 (sum of the squared weights of all kernels of the sum)^(1/2) + 2^7,
  3.3 above the deviation of an error with its rounding, 2^7 above that of the noise in the encryption of zero. `leak`
  adds this up over all coefficients sent; `combine` refuses to go beyond `MOST_LEAK`.
- t, uniform, is added at every coefficient of the plain text.
Then the ciphertext is switched down to q_0 alone (that is work on what P may see anyway), which halves its bytes: 2^93
becomes 2^33 there, below q_0 / 2^(K+1) >= 2^35, so decryption is always right.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.homomorphic import import_seal
from protocols.blind.bytesio import IntArray
from protocols.blind.kernels.interface import Words
from protocols.blind.pairwise.packing import DEGREE
from protocols.blind.prg import Stream
from protocols.blind.secret import Secret
from protocols.errors import ProtocolError, UserError

DATA_BITS, KEY_BITS = (60, 60), 40
FLOOD_BITS = 93  # F = 2^93
ERROR, ZERO_NOISE = 3.3, 1 << 7  # deviations, from above
MOST_LEAK = 2.0**-40
_MOST_SLACK = 1 << 29  # 2^60 - q_i: products with 34 bits must fit a word
_HEAD = bytes.fromhex("5ea1100403000000")  # SEAL 4: magic, size of the header, version, no compression


def _refuse(what: str) -> ProtocolError:
    return ProtocolError(f"{what} is not what it should be", "end the session; its sender is at fault")


class _Room:
    """A file in memory: SEAL reads and writes files alone."""

    def __init__(self) -> None:
        if not hasattr(os, "memfd_create"):
            raise UserError(
                "inference without a dealer runs on Linux alone", "use a dealer, or a machine with Linux"
            )
        self._file = os.memfd_create("crypdoc-seal")
        self.path = f"/proc/self/fd/{self._file}"

    def put(self, data: bytes) -> str:
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, data, 0)
        return self.path

    def take(self, thing: Any) -> bytes:
        """What `thing` saves."""
        os.ftruncate(self._file, 0)
        thing.save(self.path)
        return os.pread(self._file, os.fstat(self._file).st_size, 0)

    def __del__(self) -> None:
        os.close(self._file)


def _framed(body: bytes) -> bytes:
    return _HEAD + struct.pack("<Q", 16 + len(body)) + body


def _array(words: NDArray[np.generic]) -> bytes:
    return _framed(struct.pack("<Q", words.size) + np.ascontiguousarray(words).astype("<u8").tobytes())


class _Seal(Secret):
    """What both sides have: the context for one K."""

    def __init__(self, ring_bits: int) -> None:
        self.api = import_seal()
        chosen = self.api.EncryptionParameters(self.api.SCHEME_TYPE.BFV)
        chosen.set_poly_modulus_degree(DEGREE)
        chosen.set_coeff_modulus(self.api.CoeffModulus.Create(DEGREE, [*DATA_BITS, KEY_BITS]))
        chosen.set_plain_modulus(1 << ring_bits)
        self.context = self.api.SEALContext(chosen, True, self.api.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise UserError(
                "SEAL refuses these parameters", "install the release that `scripts/setup he` names"
            )
        self.ring_bits, self.room = ring_bits, _Room()
        self.moduli = [modulus.value() for modulus in chosen.coeff_modulus()[: len(DATA_BITS)]]
        if any(not 0 < (1 << 60) - q < _MOST_SLACK for q in self.moduli):
            raise UserError("SEAL chose other primes than those that were reckoned with", "report it")

    def plain(self, coefficients: NDArray[np.generic]) -> Any:
        """A plain text from (N,) numbers in 0..2^K-1."""
        body = bytes(32) + struct.pack("<Qd", coefficients.size, 1.0) + _array(coefficients)
        made = self.api.Plaintext()
        made.load(self.context, self.room.put(_framed(body)))
        return made

    def pair(self, first: NDArray[np.int64]) -> Any:
        """The pair (first, 0) as a ciphertext; first: residues (2, N)."""
        level = struct.pack("<4Q", *self.context.first_parms_id())
        body = level + b"\0" + struct.pack("<3QdQ", 2, DEGREE, len(first), 1.0, 1)
        made = self.api.Ciphertext()
        both = np.concatenate([first, np.zeros_like(first)])
        made.load(self.context, self.room.put(_framed(body + _array(both))))
        return made

    def load(self, data: bytes, level: Any) -> Any:
        """A ciphertext that came; `ProtocolError` unless it is one of that level."""
        made = self.api.Ciphertext()
        try:
            made.load(self.context, self.room.put(data))
        except (RuntimeError, ValueError, IndexError):
            raise _refuse("a ciphertext") from None
        if made.size() != 2 or made.is_ntt_form() or list(made.parms_id()) != list(level):
            raise _refuse("a ciphertext")
        return made


class SealPatient(_Seal):
    """P's keys for one K. See `Keyholder`. public: what M needs."""

    def __init__(self, ring_bits: int) -> None:
        super().__init__(ring_bits)
        keys = self.api.KeyGenerator(self.context)
        public = self.api.PublicKey()
        keys.create_public_key(public)
        self.public = self.room.take(public)
        self._encryptor = self.api.Encryptor(self.context, keys.secret_key())
        self._decryptor = self.api.Decryptor(self.context, keys.secret_key())

    def seal(self, coefficients: Words) -> bytes:
        """See `Keyholder.seal`. Under the secret key, whose second half is a seed: half the bytes."""
        return self.room.take(self._encryptor.encrypt_symmetric(self.plain(coefficients)))

    def unseal(self, sealed: bytes) -> Words:
        """See `Keyholder.unseal`."""
        cipher = self.load(sealed, self.context.last_parms_id())
        made = self.api.Plaintext()
        self._decryptor.decrypt(cipher, made)
        found = np.zeros(DEGREE, np.uint32)
        count = made.coeff_count()
        found[:count] = np.fromiter(map(made.__getitem__, range(count)), np.uint32, count)
        return found


class SealModel(_Seal):
    """M's side for one patient's public key. See `Evaluator`. leak: bound on what noise told so far, over all sent."""

    def __init__(self, ring_bits: int, public: bytes) -> None:
        super().__init__(ring_bits)
        key = self.api.PublicKey()
        try:
            key.load(self.context, self.room.put(public))
        except (RuntimeError, ValueError, IndexError):
            raise _refuse("the patient's public key") from None
        self._encryptor = self.api.Encryptor(self.context, key)
        self._evaluator = self.api.Evaluator(self.context)
        self.leak = 0.0

    def read(self, sealed: bytes) -> Any:
        """See `Evaluator.read`."""
        made = self.load(sealed, self.context.first_parms_id())
        self._evaluator.transform_to_ntt_inplace(made)
        return made

    def kernel(self, coefficients: IntArray) -> Any:
        """See `Evaluator.kernel`: the weights, and the sum of their squares."""
        made = self.plain(coefficients & ((1 << self.ring_bits) - 1))
        self._evaluator.transform_to_ntt_inplace(made, self.context.first_parms_id())
        return made, float(np.square(coefficients.astype(np.float64)).sum())

    def combine(self, pairs: Sequence[tuple[Any, Any]], mask: Words, fresh: Stream) -> bytes:
        """See `Evaluator.combine`. Raises `UserError` when `leak` would grow too large."""
        shift = ERROR * sum(square for _, (_, square) in pairs) ** 0.5 + ZERO_NOISE
        self.leak += DEGREE * shift / 2.0 ** (FLOOD_BITS + 1)
        if self.leak > MOST_LEAK:
            raise UserError(
                "so many answers to one patient would show something of the weights in their noise",
                "give that patient no more of them",
            )
        evaluator, total, one = self._evaluator, self._zero(), self.api.Ciphertext()
        made = None
        for cipher, (kernel, square) in pairs:
            if square == 0:
                continue  # SEAL refuses a product with zero
            if made is None:
                made = self.api.Ciphertext()
                evaluator.multiply_plain(cipher, kernel, made)
            else:
                evaluator.multiply_plain(cipher, kernel, one)
                evaluator.add_inplace(made, one)
        if made is not None:
            evaluator.transform_from_ntt_inplace(made)
            evaluator.add_inplace(total, made)
        evaluator.add_inplace(total, self._flood(fresh))
        evaluator.add_plain_inplace(total, self.plain(mask))
        evaluator.mod_switch_to_next_inplace(total)
        return self.room.take(total)

    def _zero(self) -> Any:
        made = self.api.Ciphertext()
        self._encryptor.encrypt_zero(made)
        return made

    def _flood(self, fresh: Stream) -> Any:
        """(e, 0), e uniform in -2^93..2^93-1: e = 2^60 a + b, and 2^60 is little mod q_i."""
        low = (fresh.octets(8 * DEGREE).view("<u8") >> np.uint64(4)).astype(np.int64)
        high = (fresh.octets(8 * DEGREE).view("<u8") >> np.uint64(30)).astype(np.int64) - (1 << 33)
        return self.pair(np.stack([(high * ((1 << 60) - q) + low) % q for q in self.moduli]))
