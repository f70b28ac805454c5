"""The two places where the embedded chain's rules are not Ethereum's."""

from __future__ import annotations

from typing import Any

from eth.abc import BlockHeaderAPI
from eth.chains.base import MiningChain
from eth.vm.forks.shanghai import ShanghaiVM

from contracts.chain.precompiles import FastState


class SameSecondVM(ShanghaiVM):
    """Shanghai, where a block may bear its parent's timestamp, with faster precompiles."""

    _state_class = FastState

    @classmethod
    def validate_header(cls, header: BlockHeaderAPI, parent_header: BlockHeaderAPI) -> None:
        """All of Shanghai's checks, with a parent a second older when the two are of one second."""
        if header.timestamp == parent_header.timestamp:
            parent_header = parent_header.copy(timestamp=parent_header.timestamp - 1)
        super().validate_header(header, parent_header)


class SteadyChain(MiningChain):
    """py-evm's chain with a gas limit that stays."""

    def create_header_from_parent(self, parent_header: BlockHeaderAPI, **params: Any) -> BlockHeaderAPI:
        """The next header, with its parent's gas limit."""
        steady = {**params, "gas_limit": parent_header.gas_limit}
        return super().create_header_from_parent(parent_header, **steady)
