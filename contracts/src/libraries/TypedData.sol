// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title EIP-712 digests and their signers
library TypedData {
    /// @notice Domain type of all typed data of CrypDoc.
    bytes32 internal constant DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    /// @dev Half the order of secp256k1: a larger `s` is the other form of the same signature, and refused (EIP-2).
    uint256 private constant HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Digest of a struct hash under the domain (name, "1", this chain, this contract).
    /// @dev Computed at each call, so that it holds on both sides of a chain split.
    function digest(bytes32 nameHash, bytes32 structHash) internal view returns (bytes32) {
        bytes32 separator =
            keccak256(abi.encode(DOMAIN_TYPE, nameHash, keccak256("1"), block.chainid, address(this)));
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }

    /// @notice Whether `signer`, not zero, made the 65-byte signature r, s, v (27 or 28) on the digest.
    function isSignedBy(bytes32 digest_, bytes calldata signature, address signer) internal pure returns (bool) {
        if (signature.length != 65 || signer == address(0)) return false;
        bytes32 s = bytes32(signature[32:64]);
        if (uint256(s) > HALF_ORDER) return false;
        return ecrecover(digest_, uint8(signature[64]), bytes32(signature[:32]), s) == signer;
    }
}
