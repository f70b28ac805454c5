// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title The panel's certificate
/// @notice Checks the aggregated BLS signature of agreeing doctors on (case, label, date). Keeps nothing.
/// @dev Who checks a certificate learns case, label and date; checked by `eth_call`, nobody else does.
interface ICertificates {
    /// @notice Whether the certificate holds: settled case, signers are agreeing seats of the deciding round, at least as
    ///         many as agreement takes, and the signature is theirs. False, never a revert, for a certificate that does not hold.
    /// @param label keccak256 of the plain verdict.
    /// @param date Unix second stated on the certificate.
    /// @param signerSeats Bit i: seat i (index in `Cases.view_(caseId).seats`) signed.
    /// @param sigG1 Sum of the signers' signatures.
    /// @param apkG2 Sum of the signers' G2 keys, precompile order: x.c1, x.c0, y.c1, y.c0.
    function check(
        uint256 caseId,
        bytes32 label,
        uint64 date,
        uint256 signerSeats,
        uint256[2] calldata sigG1,
        uint256[4] calldata apkG2
    ) external view returns (bool);

    /// @notice What each doctor signs, under `CERTIFICATE_DOMAIN`.
    function messageOf(uint256 caseId, bytes32 label, uint64 date) external view returns (bytes32);

    /// @notice The point of G1 to which a message is hashed; for those who check another implementation.
    function hashToG1(bytes32 domain, bytes32 message) external view returns (uint256[2] memory);
}
