// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Pull payments
/// @notice Money owed is written down; whoever it is owed to takes it.
abstract contract Credits {
    // ----------------------------------------------------------------------------------------------------- state

    /// @notice Wei that an account can withdraw.
    mapping(address account => uint256) public creditOf;

    /// @dev Sum of all credits.
    uint256 internal _totalCredits;

    /// @notice An account is owed more.
    event Credited(uint256 indexed caseId, address indexed account, uint256 amount);
    /// @notice An account took what it was owed.
    event Withdrawn(address indexed account, uint256 amount);

    /// @notice The caller is owed nothing.
    error NothingToWithdraw();
    /// @notice The caller's account refused the payment.
    error PaymentRefused();

    // --------------------------------------------------------------------------------------------------- actions

    /// @notice Pays the caller all that it is owed.
    function withdraw() external {
        uint256 amount = creditOf[msg.sender];
        if (amount == 0) revert NothingToWithdraw();
        creditOf[msg.sender] = 0;
        _totalCredits -= amount;
        emit Withdrawn(msg.sender, amount);
        (bool ok,) = msg.sender.call{value: amount}("");
        if (!ok) revert PaymentRefused();
    }

    // ---------------------------------------------------------------------------------------------------- inside

    function _credit(uint256 caseId, address account, uint256 amount) internal {
        if (amount == 0) return;
        creditOf[account] += amount;
        _totalCredits += amount;
        emit Credited(caseId, account, amount);
    }
}
