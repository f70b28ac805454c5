// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bands} from "./Bands.sol";

/// @notice The sortition trees of one specialty: one 4-ary sum tree for each pool, over one common list of leaves.
struct Trees {
    uint32 epoch; // number of the newest snapshot, 0 before the first
    uint64 startedAt; // block in which it was taken
    uint8 height; // levels above the leaves
    address[] leaves; // accounts, in order of admission; a leaf is kept for good
    mapping(uint256 key => uint256 node) nodes; // pool, level, index => values by epoch
}

/// @title Sum trees that remember their last two snapshots
/// @notice A draw must not be movable by who acts after its seed is known. So it reads the weights as they stood when the
///         snapshot ("epoch") was taken, before the seed block: whatever changed since (registration, leaving,
///         reputation) counts for later draws only. Reads and writes are O(log n).
/// @dev A value holds count * 2^40 + weight of the leaves below: both add up in one word. A node packs, in one slot:
///      value now | value before the first write of epoch w | same of epoch v | w | v, where w is the epoch of the last
///      write and v that of the last write before w. So it answers for the present epoch and the one before.
library Forest {
    uint256 private constant VALUE = type(uint64).max;
    uint256 private constant WEIGHT = (1 << 40) - 1;

    /// @notice A value for one doctor of this weight.
    function one(uint256 w) internal pure returns (uint256) {
        return (1 << 40) | w;
    }

    /// @notice How many doctors a value counts.
    function count(uint256 value) internal pure returns (uint256) {
        return value >> 40;
    }

    /// @notice The sum of weights in a value.
    function weight(uint256 value) internal pure returns (uint256) {
        return value & WEIGHT;
    }

    /// @notice Adds a leaf of value 0; O(1), and a copied root a pool when the trees grow.
    function grow(Trees storage trees, address account) internal returns (uint32 leaf) {
        leaf = uint32(trees.leaves.length);
        trees.leaves.push(account);
        uint8 height = trees.height;
        if (leaf >> (2 * height) == 0) return leaf;
        for (uint8 pool; pool < Bands.POOLS; ++pool) {
            trees.nodes[_key(pool, height + 1, 0)] = trees.nodes[_key(pool, height, 0)];
        }
        trees.height = height + 1;
    }

    /// @notice Sets the value of a leaf in a pool, and the sums above it.
    function set(Trees storage trees, uint8 pool, uint32 leaf, uint256 value) internal {
        uint256 old = valueNow(trees, pool, 0, leaf);
        if (old == value) return;
        uint32 epoch = trees.epoch;
        uint8 height = trees.height;
        for (uint8 level; level <= height; ++level) {
            uint256 key = _key(pool, level, leaf >> (2 * level));
            uint256 node = trees.nodes[key];
            uint256 sum = (node & VALUE) + value - old;
            uint256 last = uint32(node >> 192);
            if (epoch > last) {
                uint256 before = node & VALUE;
                uint256 beforeThat = (node >> 64) & VALUE;
                node = (last << 224) | (uint256(epoch) << 192) | (beforeThat << 128) | (before << 64);
            }
            trees.nodes[key] = (node & ~VALUE) | sum;
        }
    }

    /// @notice The value of a node now.
    function valueNow(Trees storage trees, uint8 pool, uint8 level, uint256 index) internal view returns (uint256) {
        return trees.nodes[_key(pool, level, index)] & VALUE;
    }

    /// @notice The value of a node when `epoch`, the present or the one before, was taken.
    function valueAt(Trees storage trees, uint32 epoch, uint8 pool, uint8 level, uint256 index)
        internal
        view
        returns (uint256)
    {
        uint256 node = trees.nodes[_key(pool, level, index)];
        if (uint32(node >> 192) < epoch) return node & VALUE;
        if (uint32(node >> 224) < epoch) return (node >> 64) & VALUE;
        return (node >> 128) & VALUE;
    }

    function _key(uint8 pool, uint8 level, uint256 index) private pure returns (uint256) {
        return (uint256(pool) << 64) | (uint256(level) << 56) | index;
    }
}
