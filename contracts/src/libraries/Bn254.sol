// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title BLS signatures on bn254 (EIP-196, EIP-197, EIP-198)
/// @notice Signatures in G1, keys in both groups: G1 keys add up cheaply on chain, G2 keys are what the pairing takes.
/// @dev G1 points are (x, y). G2 points are (x.c1, x.c0, y.c1, y.c0), the order of the pairing precompile. Every
///      precompile call has a gas cap, as a malformed point burns all that it is given, and its output must have the
///      right length, as on a chain without the precompile the call succeeds with nothing (Ganache).
library Bn254 {
    /// @notice Field modulus.
    uint256 internal constant P = 0x30644e72e131a029b85045b68181585d97816a916871ca8d3c208c16d87cfd47;
    /// @notice Group order.
    uint256 internal constant R = 0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001;
    /// @dev (P + 1) / 4: raising to it takes a square root, as P = 3 mod 4.
    uint256 private constant ROOT = 0xc19139cb84c680a6e14116da060561765e05aa45a1c72a34f082305b61f3f52;
    /// @dev The generator of G2, negated, in precompile order.
    uint256 private constant NEG_G2_X1 = 0x198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2;
    uint256 private constant NEG_G2_X0 = 0x1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed;
    uint256 private constant NEG_G2_Y1 = 0x275dc4a288d1afb3cbb1ac09187524c7db36395df7be3b99e673b13a075a65ec;
    uint256 private constant NEG_G2_Y0 = 0x1d9befcd05a5323e6da4d435f3b617cdb3af83285c2df711ef39c01571827f9d;

    uint256 private constant ADD_GAS = 5_000; // costs 150
    uint256 private constant MUL_GAS = 20_000; // costs 6,000
    uint256 private constant MODEXP_GAS = 20_000; // costs 1,360, or 4,080 since EIP-7883
    uint256 private constant PAIRING_GAS = 150_000; // two pairs cost 113,000

    /// @notice No point was found, or a precompile is missing.
    error HashFailed();

    /// @notice Hash to G1 by trying and incrementing.
    /// @dev For counter = 0, 1, ..: h = keccak256(abi.encodePacked(domain, message, uint8(counter))); x = h mod 2^254;
    ///      next if x >= P; next if x^3 + 3 is no square; y is the root whose lowest bit is the highest bit of h.
    ///      A try succeeds with probability 0.38; 256 failures have probability below 2^-170.
    function hashToG1(bytes32 domain, bytes32 message) internal view returns (uint256[2] memory point) {
        for (uint256 counter; counter < 256; ++counter) {
            uint256 h = uint256(keccak256(abi.encodePacked(domain, message, uint8(counter))));
            uint256 x = h & ((1 << 254) - 1);
            if (x >= P) continue;
            uint256 square = addmod(mulmod(mulmod(x, x, P), x, P), 3, P);
            uint256 y = _sqrt(square);
            if (mulmod(y, y, P) != square) continue;
            if (y & 1 != h >> 255) y = P - y;
            return [x, y];
        }
        revert HashFailed();
    }

    /// @notice Whether `sig` is the signature on `message` by the key (g1, g2), and g1 and g2 are the same key.
    /// @dev Two equations, e(sig, G2) = e(H, g2) and e(g1, G2) = e(G1, g2), in one pairing check: the second is added to
    ///      the first, multiplied by t = keccak256(H, g1, g2, sig) mod R, which nobody can choose.
    ///      The precompile refuses points off the curve and G2 points outside the subgroup.
    function verify(
        bytes32 domain,
        bytes32 message,
        uint256[2] memory g1,
        uint256[4] memory g2,
        uint256[2] memory sig
    ) internal view returns (bool) {
        if ((g1[0] | g1[1]) == 0 || (g2[0] | g2[1] | g2[2] | g2[3]) == 0 || (sig[0] | sig[1]) == 0) return false;
        uint256[2] memory h = hashToG1(domain, message);
        uint256 t = uint256(keccak256(abi.encode(h, g1, g2, sig))) % R;
        (bool okLeft, uint256[2] memory left) = _addMul(sig, g1, t);
        (bool okRight, uint256[2] memory right) = _addMul(h, [uint256(1), 2], t);
        return okLeft && okRight && _pair(left, right, g2);
    }

    /// @notice a + b; false if either is no point of the curve.
    function add(uint256[2] memory a, uint256[2] memory b) internal view returns (bool ok, uint256[2] memory sum) {
        uint256[4] memory input = [a[0], a[1], b[0], b[1]];
        assembly ("memory-safe") {
            ok := staticcall(ADD_GAS, 6, input, 128, sum, 64)
            ok := and(ok, eq(returndatasize(), 64))
        }
    }

    /// @dev a + t * b.
    function _addMul(uint256[2] memory a, uint256[2] memory b, uint256 t)
        private
        view
        returns (bool ok, uint256[2] memory sum)
    {
        uint256[3] memory input = [b[0], b[1], t];
        uint256[2] memory product;
        assembly ("memory-safe") {
            ok := staticcall(MUL_GAS, 7, input, 96, product, 64)
            ok := and(ok, eq(returndatasize(), 64))
        }
        if (ok) (ok, sum) = add(a, product);
    }

    /// @dev Whether e(a, -G2) * e(b, g2) = 1.
    function _pair(uint256[2] memory a, uint256[2] memory b, uint256[4] memory g2) private view returns (bool ok) {
        uint256[12] memory input = [
            a[0], a[1], NEG_G2_X1, NEG_G2_X0, NEG_G2_Y1, NEG_G2_Y0, b[0], b[1], g2[0], g2[1], g2[2], g2[3]
        ];
        uint256[1] memory output;
        assembly ("memory-safe") {
            ok := staticcall(PAIRING_GAS, 8, input, 384, output, 32)
            ok := and(ok, eq(returndatasize(), 32))
        }
        return ok && output[0] == 1;
    }

    /// @dev A square root of a square; anything otherwise.
    function _sqrt(uint256 a) private view returns (uint256 root) {
        uint256[6] memory input = [uint256(32), 32, 32, a, ROOT, P];
        uint256[1] memory output;
        bool ok;
        assembly ("memory-safe") {
            ok := staticcall(MODEXP_GAS, 5, input, 192, output, 32)
            ok := and(ok, eq(returndatasize(), 32))
        }
        if (!ok) revert HashFailed();
        return output[0];
    }
}
