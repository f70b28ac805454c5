// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDoctors} from "../interfaces/IDoctors.sol";
import {Bands} from "../libraries/Bands.sol";
import {Forest, Trees} from "../libraries/Forest.sol";
import {DrawRequest, DrawResult, Place} from "../types/DoctorTypes.sol";

/// @title The draw of a panel
/// @notice Seats go by lot, weighted by reputation, to doctors of one band, so that equals read together; a fifth of them
///         to newcomers. A bounty asks for a band; the band of a draw is the highest one, not above that, which enough
///         doctors reach. It widens upwards, so nobody is ever drawn above their band. One seat a doctor a case.
/// @dev Weights are those of a snapshot taken before the seed block was made; a doctor who registered after it is not in
///      it, one whose reputation moved after it has the old weight, one who left after it is passed over like one who
///      declines (so is one whose attester revokes). So nobody can move a draw after seeing its seed but by giving up a
///      seat. One who waits until the hash is out of reach loses the round one of its few draws.
///      Bound on the bias: the seed is the hash of one block, and its proposer can make g candidate blocks in its slot
///      and publish the best for it, or none. That raises the chance of an outcome of probability p to at most
///      1 - (1 - p)^g <= g * p; one who colludes with a share s of a band's weight can get m chosen seats of a panel with
///      about g * s^m. Nobody else can bias it. Panels in round two, drawn by another proposer, are the remedy.
abstract contract Sortition is IDoctors {
    using Forest for Trees;

    // ------------------------------------------------------------------------------------------------ parameters

    /// @notice One seat in so many is a newcomer's.
    uint8 public constant NEWCOMER_SHARE = 5;

    /// @notice Unusable doctors that one draw passes over before it leaves seats to the next draw.
    uint8 public constant SPARE_PICKS = 16;

    /// @notice Fewest blocks between two snapshots of a specialty.
    uint32 public immutable EPOCH_BLOCKS;

    // ----------------------------------------------------------------------------------------------------- state

    /// @dev Trees of each specialty.
    mapping(bytes32 specialty => Trees) internal _trees;

    /// @dev Each doctor's place in each specialty.
    mapping(bytes32 specialty => mapping(address doctor => Place)) internal _places;

    /// @dev What can still be drawn, in memory: value left in each pool, and the leaves taken out, each as one word:
    ///      weight * 2^40 + pool * 2^32 + leaf.
    struct Urn {
        uint256[5] left;
        uint256 count;
        uint256[] taken;
    }

    // ---------------------------------------------------------------------------------------------------- making

    constructor(uint32 epochBlocks) {
        EPOCH_BLOCKS = epochBlocks;
    }

    // ----------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IDoctors
    function isFresh(bytes32 specialty, uint32 epoch) public view returns (bool) {
        return epoch != 0 && _trees[specialty].epoch <= epoch + 1;
    }

    /// @inheritdoc IDoctors
    function isUsable(address account, bytes32 specialty) public view virtual returns (bool);

    /// @inheritdoc IDoctors
    function draw(DrawRequest calldata request) external view returns (DrawResult memory result) {
        if (!isFresh(request.specialty, request.epoch)) revert StaleSnapshot();
        Urn memory urn = _fill(request);
        result.band = _bandOf(urn, request.target, request.seats);
        uint256 allowed = _poolsFrom(result.band, Bands.BANDS - 1) | (Bands.START_BAND >= result.band ? 1 : 0);
        uint256 ordinary = _widen(urn, result.band, request.seats, allowed);
        uint256 newcomers = allowed & 1 == 0 ? 0 : _newcomerSeats(request.seed, request.seats);

        result.doctors = new address[](request.seats);
        result.pools = new uint8[](request.seats);
        uint256 filled;
        for (uint256 i; filled < request.seats && i < uint256(request.seats) + SPARE_PICKS; ++i) {
            uint256 pools = filled < newcomers && Forest.weight(urn.left[0]) != 0 ? 1 : ordinary;
            if (_weightIn(urn, pools) == 0) pools = ordinary = allowed;
            if (_weightIn(urn, pools) == 0) break;
            (address picked, uint8 pool) = _pick(request, urn, pools, i);
            if (!isUsable(picked, request.specialty)) continue;
            result.doctors[filled] = picked;
            result.pools[filled] = pool;
            ++filled;
        }
        _shorten(result, filled);
    }

    // ---------------------------------------------------------------------------------------------------- inside

    /// @dev Takes a snapshot, or joins the last one when that is younger than `EPOCH_BLOCKS`.
    function _anchor(bytes32 specialty) internal returns (uint32 epoch) {
        Trees storage trees = _trees[specialty];
        epoch = trees.epoch;
        if (epoch == 0 || block.number >= trees.startedAt + EPOCH_BLOCKS) {
            trees.epoch = ++epoch;
            trees.startedAt = uint64(block.number);
        }
    }

    /// @dev The urn of a snapshot without the excluded doctors.
    function _fill(DrawRequest calldata request) private view returns (Urn memory urn) {
        Trees storage trees = _trees[request.specialty];
        urn.taken = new uint256[](request.excluded.length + request.seats + SPARE_PICKS);
        uint8 height = trees.height;
        for (uint8 pool; pool < Bands.POOLS; ++pool) {
            urn.left[pool] = trees.valueAt(request.epoch, pool, height, 0);
        }
        for (uint256 i; i < request.excluded.length; ++i) {
            Place storage place = _places[request.specialty][request.excluded[i]];
            if (place.leafPlusOne != 0) _exclude(trees, urn, request.epoch, place.leafPlusOne - 1, place.pool);
        }
    }

    /// @dev Takes a leaf out of the pool in which it stood at the snapshot: most likely where it stands now.
    function _exclude(Trees storage trees, Urn memory urn, uint32 epoch, uint32 leaf, uint8 likely) private view {
        for (uint8 i; i < Bands.POOLS; ++i) {
            uint8 pool = (likely + i) % Bands.POOLS;
            uint256 value = trees.valueAt(epoch, pool, 0, leaf);
            if (value == 0) continue;
            _take(urn, pool, leaf, value);
            return;
        }
    }

    function _take(Urn memory urn, uint8 pool, uint32 leaf, uint256 value) private pure {
        urn.taken[urn.count++] = (Forest.weight(value) << 40) | (uint256(pool) << 32) | leaf;
        urn.left[pool] -= value;
    }

    /// @dev Picks a leaf of the given pools by weight, without replacement.
    function _pick(DrawRequest calldata request, Urn memory urn, uint256 pools, uint256 i)
        private
        view
        returns (address picked, uint8 pool)
    {
        Trees storage trees = _trees[request.specialty];
        uint256 point = uint256(keccak256(abi.encode(request.seed, i))) % _weightIn(urn, pools);
        for (;; ++pool) {
            if ((pools >> pool) & 1 == 0) continue;
            uint256 here = Forest.weight(urn.left[pool]);
            if (point < here) break;
            point -= here;
        }
        uint32 leaf = _descend(trees, urn, request.epoch, pool, point);
        _take(urn, pool, leaf, trees.valueAt(request.epoch, pool, 0, leaf));
        picked = trees.leaves[leaf];
    }

    /// @dev The leaf that covers a point of the pool's weight, leaves taken out not counted.
    function _descend(Trees storage trees, Urn memory urn, uint32 epoch, uint8 pool, uint256 point)
        private
        view
        returns (uint32)
    {
        uint256 index;
        for (uint8 level = trees.height; level > 0;) {
            --level;
            uint256[4] memory taken = _takenBelow(urn, pool, level, index);
            index <<= 2;
            for (uint256 child;; ++child) {
                uint256 here = Forest.weight(trees.valueAt(epoch, pool, level, index + child)) - taken[child];
                if (point < here) {
                    index += child;
                    break;
                }
                point -= here;
            }
        }
        return uint32(index);
    }

    /// @dev Weight taken out below each child, at `level`, of the node `index` one level up.
    function _takenBelow(Urn memory urn, uint8 pool, uint8 level, uint256 index)
        private
        pure
        returns (uint256[4] memory taken)
    {
        uint256 parent = (uint256(pool) << (30 - 2 * level)) | index;
        for (uint256 i; i < urn.count; ++i) {
            uint256 entry = urn.taken[i];
            uint256 node = (entry & ((1 << 40) - 1)) >> (2 * level);
            if (node >> 2 == parent) taken[node & 3] += entry >> 40;
        }
    }

    /// @dev The highest band, not above the target, that enough doctors reach; 0 when there are too few in all.
    function _bandOf(Urn memory urn, uint8 target, uint256 seats) private pure returns (uint8 band) {
        for (band = target; band > 0; --band) {
            uint256 pools = _poolsFrom(band, Bands.BANDS - 1) | (Bands.START_BAND >= band ? 1 : 0);
            if (_countIn(urn, pools) >= seats) return band;
        }
    }

    /// @dev The narrowest pools from the band upwards with enough doctors; newcomers come in last.
    function _widen(Urn memory urn, uint8 band, uint256 seats, uint256 allowed) private pure returns (uint256 pools) {
        for (uint8 top = band; top < Bands.BANDS; ++top) {
            pools = _poolsFrom(band, top);
            if (_countIn(urn, pools) >= seats) return pools;
        }
        return allowed;
    }

    /// @dev Seats kept for newcomers: their share, the remainder by lot.
    function _newcomerSeats(bytes32 seed, uint256 seats) private pure returns (uint256) {
        uint256 lot = uint256(keccak256(abi.encode(seed, "newcomers"))) % NEWCOMER_SHARE;
        return seats / NEWCOMER_SHARE + (lot < seats % NEWCOMER_SHARE ? 1 : 0);
    }

    /// @dev Pools of the bands `from` to `to`, as a bitmap.
    function _poolsFrom(uint8 from, uint8 to) private pure returns (uint256) {
        return (uint256(2) << (to + 1)) - (uint256(2) << from);
    }

    function _weightIn(Urn memory urn, uint256 pools) private pure returns (uint256 sum) {
        for (uint256 pool; pool < Bands.POOLS; ++pool) {
            if ((pools >> pool) & 1 != 0) sum += Forest.weight(urn.left[pool]);
        }
    }

    function _countIn(Urn memory urn, uint256 pools) private pure returns (uint256 sum) {
        for (uint256 pool; pool < Bands.POOLS; ++pool) {
            if ((pools >> pool) & 1 != 0) sum += Forest.count(urn.left[pool]);
        }
    }

    function _shorten(DrawResult memory result, uint256 length) private pure {
        address[] memory doctors = result.doctors;
        uint8[] memory pools = result.pools;
        assembly ("memory-safe") {
            mstore(doctors, length)
            mstore(pools, length)
        }
    }
}
