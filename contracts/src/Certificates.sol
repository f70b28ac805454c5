// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICases} from "./interfaces/ICases.sol";
import {ICertificates} from "./interfaces/ICertificates.sol";
import {IDoctors} from "./interfaces/IDoctors.sol";
import {Bn254} from "./libraries/Bn254.sol";

/// @title The panel's certificate
/// @notice A pure check on what `Cases` and `Doctors` hold; costs one pairing check of two pairs, whatever the panel.
/// @dev Keys were proven at registration, so no signer can cancel another's key (rogue key attack).
contract Certificates is ICertificates {
    // ------------------------------------------------------------------------------------------------ parameters

    /// @notice Domain under which a certificate's message is hashed to G1.
    bytes32 public constant CERTIFICATE_DOMAIN = keccak256("CrypDoc BLS certificate v1");

    /// @notice Whose verdicts are certified.
    ICases public immutable CASES;

    /// @notice Whose keys sign.
    IDoctors public immutable DOCTORS;

    // ---------------------------------------------------------------------------------------------------- making

    /// @param cases Made before.
    constructor(ICases cases) {
        CASES = cases;
        DOCTORS = cases.DOCTORS();
    }

    // ----------------------------------------------------------------------------------------------------- views

    /// @inheritdoc ICertificates
    function check(
        uint256 caseId,
        bytes32 label,
        uint64 date,
        uint256 signerSeats,
        uint256[2] calldata sigG1,
        uint256[4] calldata apkG2
    ) external view returns (bool) {
        (bool enough, address[] memory signers) = CASES.signersOf(caseId, signerSeats);
        if (!enough) return false;
        uint256[2] memory apk;
        for (uint256 i; i < signers.length; ++i) {
            bool ok;
            (ok, apk) = Bn254.add(apk, DOCTORS.blsG1Of(signers[i]));
            if (!ok) return false;
        }
        return Bn254.verify(CERTIFICATE_DOMAIN, messageOf(caseId, label, date), apk, apkG2, sigG1);
    }

    /// @inheritdoc ICertificates
    function messageOf(uint256 caseId, bytes32 label, uint64 date) public view returns (bytes32) {
        return keccak256(
            abi.encode("CrypDoc certificate v1", block.chainid, address(CASES), caseId, label, date)
        );
    }

    /// @inheritdoc ICertificates
    function hashToG1(bytes32 domain, bytes32 message) external view returns (uint256[2] memory) {
        return Bn254.hashToG1(domain, message);
    }
}
