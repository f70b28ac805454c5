// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDoctors} from "./interfaces/IDoctors.sol";
import {IReputation} from "./interfaces/IReputation.sol";

interface ICredits {
    function creditOf(address account) external view returns (uint256);
}

/// @title All accounts' money and reputation, in one call
contract Lens {
    /// @return words Five of each account: balance, credit in `cases`, `models`, `market`, reputation.
    function look(ICredits[3] calldata books, IReputation reputation, bytes32 specialty, address[] calldata accounts)
        external
        view
        returns (uint256[] memory words)
    {
        words = new uint256[](5 * accounts.length);
        for (uint256 i; i < accounts.length; ++i) {
            address account = accounts[i];
            words[5 * i] = account.balance;
            for (uint256 k; k < 3; ++k) {
                words[5 * i + 1 + k] = books[k].creditOf(account);
            }
            words[5 * i + 4] = reputation.ofDoctor(account, specialty);
        }
    }

    /// @return wei_ The registration deposit of each account.
    function deposits(IDoctors doctors, address[] calldata accounts) external view returns (uint256[] memory wei_) {
        wei_ = new uint256[](accounts.length);
        for (uint256 i; i < accounts.length; ++i) {
            wei_[i] = doctors.doctor(accounts[i]).deposit;
        }
    }
}

/// @title An account that answers a payment as it likes
/// @notice Mode 0 takes it, 1 calls back into whoever pays (each time, until refused), 2 refuses it.
contract Receiver {
    uint256 public mode;
    bytes public answer;
    uint256 public reentered;

    function set(uint256 mode_, bytes calldata answer_) external {
        (mode, answer) = (mode_, answer_);
    }

    /// @notice Does a call as this account; what it refuses is passed on.
    function act(address target, uint256 value, bytes calldata data) external payable {
        (bool ok, bytes memory told) = target.call{value: value}(data);
        if (ok) return;
        assembly ("memory-safe") {
            revert(add(told, 32), mload(told))
        }
    }

    receive() external payable {
        require(mode != 2, "no");
        if (mode != 1 || gasleft() < 200_000) return;
        (bool ok,) = msg.sender.call(answer);
        if (ok) ++reentered;
    }
}
