// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CaseView, OpenCase, Outcome, Phase} from "../types/CaseTypes.sol";
import {Receipt} from "../types/ModelTypes.sol";
import {Terms} from "../types/Terms.sol";

import {IDoctors} from "./IDoctors.sol";
import {IModels} from "./IModels.sol";
import {IReputation} from "./IReputation.sol";

/// @title Cases: bounty, blind panel, verdict
/// @notice A case is opened by a fresh account with a bounty, read by a drawn panel that commits and reveals, and ends
///         `Settled` or `Refunded`, whoever vanishes, by calls to `advance` that anybody can make.
/// @dev Everybody learns specialty, bucket, bounty, who sits, that they agree, and permuted verdict codes. The labels
///      behind the codes (all but 0, "insufficient evidence") are known to patient and panel alone.
interface ICases {
    event CaseOpened(uint256 indexed caseId, bytes32 indexed specialty, address indexed caseAccount);
    event Drawn(uint256 indexed caseId, address indexed doctor, uint8 round);
    event SeatAccepted(uint256 indexed caseId, address indexed doctor, uint8 round);
    /// @notice A seat was declined, lapsed (`Replaced`) or forfeited (`NoShow`); `status` says which.
    event SeatLost(uint256 indexed caseId, address indexed doctor, uint8 round, uint8 status);
    event PhaseChanged(uint256 indexed caseId, uint8 round, Phase phase, uint64 deadline);
    event Committed(uint256 indexed caseId, address indexed doctor, uint8 round);
    event Revealed(uint256 indexed caseId, address indexed doctor, uint8 round, uint8 code, uint8 confidence);
    /// @notice A round closed without agreement.
    event RoundHung(uint256 indexed caseId, uint8 round);
    event Settled(uint256 indexed caseId, uint8 code, uint8 agreeing);
    event Refunded(uint256 indexed caseId);

    /// @notice A constructor parameter makes no sense.
    error BadParameters();
    /// @notice A partner contract was made for other terms or another `Cases`.
    error WrongPartner(address partner);
    /// @notice This account opened a case on this scan commitment before.
    error CaseExists(uint256 caseId);
    /// @notice The panel size is none of 3, 5, 7, 9.
    error BadPanelSize(uint8 panelSize);
    /// @notice The sealing key, the specialty or the scan commitment is zero.
    error EmptyField();
    /// @notice The value sent is not what the call takes.
    error WrongPayment(uint256 sent, uint256 wanted);
    /// @notice The receipt is for another case or network.
    error WrongReceipt();
    /// @notice The case is in another phase.
    error WrongPhase(Phase phase);
    /// @notice The phase's deadline is over.
    error TooLate(uint64 deadline);
    /// @notice The caller has no seat in this round, or the seat is not at this step.
    error NoSeat();
    /// @notice The doctor cannot take seats now: left, resting, or credential over.
    error NotUsable();
    /// @notice The commitment is zero.
    error EmptyCommitment();
    /// @notice Verdict, confidence and salt do not open the commitment.
    error CommitmentMismatch();
    /// @notice The confidence is above 100 percent.
    error BadConfidence(uint8 confidence);
    /// @notice Nothing is due: try again after the deadline, or the seed block.
    error NothingDue();

    /// @notice Opens a case for the caller, who becomes its case account. Value: `escrowFor(bucket, panelSize)`.
    /// @param c The case.
    /// @param r The model's receipt, which sets the bounty.
    /// @param receiptSig Signature on it by the owner of the network.
    function open(OpenCase calldata c, Receipt calldata r, bytes calldata receiptSig) external payable;

    /// @notice Takes the seat that the caller was invited to. Value: the seat deposit.
    function accept(uint256 caseId) external payable;

    /// @notice Gives the invitation back, at no cost; another doctor is drawn.
    function decline(uint256 caseId) external;

    /// @notice Commits to a verdict, once. See `commitmentOf`.
    function commit(uint256 caseId, bytes32 commitment) external;

    /// @notice Opens the caller's commitment.
    /// @param code 0 = insufficient evidence, else the case's secret code of a label.
    /// @param confidence Stated probability in percent that the panel will settle on this code; scored by a proper rule.
    function reveal(uint256 caseId, uint8 code, uint8 confidence, bytes32 salt) external;

    /// @notice Does whatever is due; anybody may call. Reverts with `NothingDue` when nothing is.
    function advance(uint256 caseId) external;

    /// @notice Whether `advance` has something to do now.
    function isDue(uint256 caseId) external view returns (bool);

    /// @notice Everything public about a case.
    function view_(uint256 caseId) external view returns (CaseView memory);

    /// @notice What a round decided and paid.
    function outcomeOf(uint256 caseId, uint8 round) external view returns (Outcome memory);

    /// @notice What the data market asks.
    function ledgerOf(uint256 caseId)
        external
        view
        returns (Phase phase, address caseAccount, uint8 result, bytes32 specialty, bytes32 network, bytes32 consentHash);

    /// @notice Doctors behind the verdict of a settled case; empty before.
    function agreeingDoctors(uint256 caseId) external view returns (address[] memory);

    /// @notice Doctors of the seats named by a bitmap, and whether they can certify the verdict: the case is settled,
    ///         all of them are behind its verdict, and they are at least as many as agreement takes.
    function signersOf(uint256 caseId, uint256 bitmap) external view returns (bool enough, address[] memory doctors);

    /// @notice The case id of an account and scan commitment, known before the case is opened.
    function caseIdOf(address caseAccount, bytes32 scanCommitment) external view returns (uint256);

    /// @notice What to commit to: keccak256(abi.encode(chainid, this, caseId, round, doctor, code, confidence, salt)).
    function commitmentOf(uint256 caseId, uint8 round, address doctor, uint8 code, uint8 confidence, bytes32 salt)
        external
        view
        returns (bytes32);

    /// @notice Wei to send to `open`: every seat of every round that there may be.
    function escrowFor(uint8 bucket, uint8 panelSize) external view returns (uint256);

    /// @notice Held bounties, held seat deposits and unpaid credits; their sum is the contract's balance.
    function books() external view returns (uint256 bounties, uint256 deposits, uint256 credits);

    /// @notice Partners, fixed at deployment.
    function DOCTORS() external view returns (IDoctors);
    function MODELS() external view returns (IModels);
    function REPUTATION() external view returns (IReputation);

    /// @notice The deployment's parameters.
    function terms() external view returns (Terms memory);
}
