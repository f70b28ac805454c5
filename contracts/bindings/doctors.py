"""The `Doctors` contract: registration, keys, and the draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from contracts.bindings.base import Binding, EventSearch, Read, word
from contracts.chain.values import Call
from protocols.crypto.bls import BlsPublic, EncodedG1


class DoctorState(IntEnum):
    """Whether a doctor takes part."""

    NONE = 0
    ACTIVE = 1
    LEFT = 2


@dataclass(frozen=True, slots=True)
class SignedCredential:
    """An attester's signature that a doctor is one of a specialty."""

    specialty: bytes
    attester: str
    valid_until: int
    signature: bytes

    def as_tuple(self) -> tuple[Any, ...]:
        """The contract's struct, without the specialty, which goes beside it."""
        return self.attester, self.valid_until, self.signature


@dataclass(frozen=True, slots=True)
class Application:
    """What a doctor registers with. `proof`: the BLS signature on `possession_message` in its domain."""

    credentials: tuple[SignedCredential, ...]
    sealing_key: bytes
    bls: BlsPublic
    proof: EncodedG1
    record: bytes

    def as_tuple(self) -> tuple[Any, ...]:
        """The contract's struct."""
        return (
            tuple(credential.specialty for credential in self.credentials),
            tuple(credential.as_tuple() for credential in self.credentials),
            self.sealing_key,
            self.bls.g1,
            self.bls.g2,
            self.proof,
            self.record,
        )


@dataclass(frozen=True, slots=True)
class DoctorView:
    """A doctor; `valid_until` and `pools` go with `specialties`."""

    state: DoctorState
    resting: bool
    open_seats: int
    deposit: int
    sealing_key: bytes
    bls: BlsPublic
    record: bytes
    specialties: tuple[bytes, ...]
    valid_until: tuple[int, ...]
    pools: tuple[int, ...]


class Doctors(Binding):
    """See `IDoctors.sol`."""

    contract: ClassVar[str] = "Doctors"

    # -- reads

    def doctor(self, account: str) -> Read[DoctorView]:
        """Everything public about a doctor."""
        return self._ask(_doctor_view, "doctor", account)

    def is_usable(self, account: str, specialty: bytes) -> Read[bool]:
        """Whether a doctor can take a seat now."""
        return self._ask(bool, "isUsable", account, specialty)

    def members_of(self, specialty: bytes) -> Read[int]:
        """How many accounts were ever admitted to a specialty."""
        return self._ask(int, "membersOf", specialty)

    def members_page(self, specialty: bytes, start: int, count: int) -> Read[tuple[str, ...]]:
        """A page of them; look at `is_usable`."""
        return self._ask(tuple, "membersPage", specialty, start, count)

    def pool_of(self, specialty: bytes, pool: int) -> Read[tuple[int, int]]:
        """Doctors and weight in a pool: 0 the newcomers', else band + 1."""
        return self._ask(lambda doctors, weight: (doctors, weight), "poolOf", specialty, pool)

    def possession_message(self, account: str, bls: BlsPublic) -> Read[bytes]:
        """What the proof of possession signs."""
        return self._ask(bytes, "possessionMessage", account, bls.g1, bls.g2)

    def credential_digest(self, account: str, specialty: bytes, valid_until: int) -> Read[bytes]:
        """What an attester signs; equal to `doctors_domain(..).digest(Credential(..))`."""
        return self._ask(bytes, "credentialDigest", account, specialty, valid_until)

    # -- writes

    def register(self, account: str, application: Application, deposit: int) -> Call:
        """Register. deposit: `Terms.registration_deposit`."""
        return self._do(account, "register", application.as_tuple(), value=deposit)

    def admit(self, account: str, credential: SignedCredential) -> Call:
        """Be admitted to a further specialty, or renew a credential."""
        return self._do(account, "admit", credential.specialty, credential.as_tuple())

    def revoke(self, attester: str, doctor: str, specialty: bytes, valid_until: int) -> Call:
        """Take a credential back."""
        return self._do(attester, "revoke", doctor, specialty, valid_until)

    def update_record(self, account: str, record: bytes) -> Call:
        """Publish a peer record; wakes a resting doctor."""
        return self._do(account, "updateRecord", record)

    def set_resting(self, account: str, resting: bool) -> Call:
        """Go out of the draws, or come back."""
        return self._do(account, "setResting", resting)

    def refresh(self, account: str, doctor: str, specialty: bytes) -> Call:
        """Bring a doctor's weight in the draws up to date."""
        return self._do(account, "refresh", doctor, specialty)

    def resign(self, account: str) -> Call:
        """Leave: no draw from here on; open seats stay owed."""
        return self._do(account, "resign")

    def withdraw_deposit(self, account: str) -> Call:
        """Take the deposit back after leaving."""
        return self._do(account, "withdrawDeposit")

    # -- events

    def admissions(self, specialty: bytes | None = None) -> EventSearch:
        """Who was admitted, to one specialty if given."""
        return self.search("Admitted", None, specialty)

    def of_doctor(self, account: str) -> EventSearch:
        """All events of one doctor."""
        return self.search(None, word(account))


def _doctor_view(found: Sequence[Any]) -> DoctorView:
    state, resting, seats, deposit, sealing, g1, g2, record, specialties, valid_until, pools = found
    bls = BlsPublic((g1[0], g1[1]), (g2[0], g2[1], g2[2], g2[3]))
    return DoctorView(
        DoctorState(state), resting, seats, deposit, sealing, bls, record, specialties, valid_until, pools
    )
