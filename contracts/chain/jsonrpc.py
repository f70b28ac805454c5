"""The Ethereum JSON-RPC words that the embedded chain knows, over an `EvmChain`.

`Api.answer` takes one decoded request and gives one answer, whatever the request is: it never raises.
Quantities and data are 0x hex as in the Ethereum JSON-RPC specification; a revert is error 3 with its bytes
in `data`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from eth.abc import BlockHeaderAPI, SignedTransactionAPI
from eth.constants import CREATE_CONTRACT_ADDRESS
from eth_utils.address import to_checksum_address

from contracts.chain.evm import (
    GAS_LIMIT,
    GWEI,
    EvmChain,
    ExecutionFailed,
    Message,
    Mined,
    Spec,
    TxRefused,
    base_fee,
)

CLIENT = "CrypDoc embedded chain/1 (py-evm)"
MAX_LOGS = 10_000
_TAGS = ("latest", "safe", "finalized", "pending", "earliest")

Json = dict[str, Any]


class _Fault(Exception):
    """A JSON-RPC error answer."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class Api:
    """One method a JSON-RPC word, named after it."""

    def __init__(self, chain: EvmChain) -> None:
        self._chain = chain
        self._words: dict[str, Callable[..., Any]] = {
            "web3_clientVersion": lambda: CLIENT,
            "net_version": lambda: str(chain.chain_id),
            "net_listening": lambda: True,
            "eth_syncing": lambda: False,
            "eth_accounts": list,
            "eth_chainId": lambda: hex(chain.chain_id),
            "eth_blockNumber": lambda: hex(chain.head.block_number),
            "eth_gasPrice": lambda: hex(base_fee(chain.head) + GWEI),
            "eth_maxPriorityFeePerGas": lambda: hex(GWEI),
            "eth_getBalance": lambda who, at="latest": hex(chain.balance(_address(who), _spec(at))),
            "eth_getTransactionCount": lambda who, at="latest": hex(chain.nonce(_address(who), _spec(at))),
            "eth_getCode": lambda who, at="latest": _hex(chain.code(_address(who), _spec(at))),
            "eth_getStorageAt": self._storage,
            "eth_call": lambda tx, at="latest": _hex(chain.call(_message(tx), _spec(at))),
            "eth_estimateGas": lambda tx, at="latest": hex(chain.estimate(_message(tx))),
            "eth_sendRawTransaction": lambda raw: _hex(chain.submit(_data(raw))),
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getBlockByNumber": lambda at, full=False: self._block(_spec(at), full),
            "eth_getBlockByHash": lambda at, full=False: self._block(_data(at, 32), full),
            "eth_getLogs": self._logs,
            "crypdoc_grant": self._grant,
        }

    def answer(self, request: Any) -> Json | None:
        """The answer to a request, None to a notification."""
        if not isinstance(request, dict):
            return failure(None, -32600, "the request must be an object")
        name, params, ident = request.get("method"), request.get("params", []), request.get("id")
        if not isinstance(ident, (str, int, type(None))):
            return failure(None, -32600, "the id must be text or a number")
        try:
            result = self._perform(name, params)
        except _Fault as fault:
            return failure(ident, fault.code, str(fault), fault.data)
        return {"jsonrpc": "2.0", "id": ident, "result": result} if "id" in request else None

    def _perform(self, name: Any, params: Any) -> Any:
        word = self._words.get(name) if isinstance(name, str) else None
        if word is None:
            raise _Fault(-32601, f"the method {str(name)[:60]} is not available")
        if not isinstance(params, list):
            raise _Fault(-32602, "params must be a list")
        try:
            return word(*params)
        except ExecutionFailed as error:
            reverted = error.output is not None
            raise _Fault(
                3 if reverted else -32000, str(error), _hex(error.output or b"") if reverted else None
            ) from None
        except TxRefused as error:
            raise _Fault(-32000, str(error)) from None
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise _Fault(-32602, f"invalid params: {error}"[:200]) from None
        except _Fault:
            raise
        except Exception as error:  # py-evm must not be able to end the server
            raise _Fault(-32603, f"internal error: {type(error).__name__}") from None

    def _grant(self, who: Any, wei: Any) -> bool:
        self._chain.grant(_address(who), _quantity(wei))
        return True

    def _storage(self, who: Any, slot: Any, at: Any = "latest") -> str:
        return f"0x{self._chain.storage(_address(who), _quantity(slot), _spec(at)):064x}"

    def _transaction(self, tx_hash: Any) -> Json | None:
        key = _data(tx_hash, 32)
        if (mined := self._chain.mined(key)) is not None:
            return _transaction_json(mined.tx, mined)
        held = self._chain.held(key)
        return None if held is None else _transaction_json(held, None)

    def _receipt(self, tx_hash: Any) -> Json | None:
        mined = self._chain.mined(_data(tx_hash, 32))
        return None if mined is None else _receipt_json(mined)

    def _block(self, spec: Spec, full: bool) -> Json | None:
        header = self._chain.header(spec)
        if header is None:
            return None
        hashes = () if spec == "pending" else self._chain.transactions(header.block_number)
        found = [mined for mined in map(self._chain.mined, hashes) if mined is not None]
        txs = [_transaction_json(mined.tx, mined) if full else _hex(mined.tx.hash) for mined in found]
        return _block_json(header, txs)

    def _logs(self, wanted: Any) -> list[Json]:
        if "blockHash" in wanted:
            header = self._chain.header(_data(wanted["blockHash"], 32))
            first = last = -1 if header is None else header.block_number
        else:
            first, last = (self._number(wanted.get(key)) for key in ("fromBlock", "toBlock"))
        addresses = wanted.get("address") or []
        addresses = [addresses] if isinstance(addresses, str) else addresses
        topics = [_topic(topic) for topic in wanted.get("topics") or []]
        found = self._chain.logs(first, last, map(_address, addresses), topics)
        if len(found) > MAX_LOGS:
            raise _Fault(-32005, f"more than {MAX_LOGS} events match; ask for fewer blocks")
        return [_log_json(mined, i) for mined, i in found]

    def _number(self, at: Any) -> int:
        spec = _spec("latest" if at is None else at)
        if isinstance(spec, int):
            return spec
        return 0 if spec == "earliest" else self._chain.head.block_number


def failure(ident: Any, code: int, message: str, data: str | None = None) -> Json:
    """A JSON-RPC error answer."""
    error: Json = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": ident, "error": error}


def _bad(what: str) -> NoReturn:
    raise _Fault(-32602, f"invalid params: {what}")


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _data(value: Any, length: int | None = None) -> bytes:
    if not isinstance(value, str) or not value.startswith("0x"):
        _bad("data must be text that begins with 0x")
    data = bytes.fromhex(value[2:])
    if length is not None and len(data) != length:
        _bad(f"expected {length} bytes, got {len(data)}")
    return data


def _address(value: Any) -> bytes:
    return _data(value, 20)


def _quantity(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str) or not value.startswith("0x") or len(value) > 66:
        _bad("a quantity must be text that begins with 0x")
    return int(value, 16)


def _spec(value: Any) -> Spec:
    if value in _TAGS:
        return str(value)
    if isinstance(value, dict):
        return _data(value["blockHash"], 32) if "blockHash" in value else _quantity(value["blockNumber"])
    return _quantity(value)


def _topic(value: Any) -> list[int] | None:
    if value is None:
        return None
    return [int.from_bytes(_data(v, 32), "big") for v in ([value] if isinstance(value, str) else value)]


def _message(tx: Any) -> Message:
    return Message(
        to=_address(tx["to"]) if tx.get("to") else b"",
        data=_data(tx.get("data") or tx.get("input") or "0x"),
        sender=_address(tx["from"]) if tx.get("from") else bytes(20),
        value=_quantity(tx.get("value") or 0),
        gas=min(_quantity(tx.get("gas") or GAS_LIMIT), GAS_LIMIT),
    )


def _to(tx: SignedTransactionAPI) -> str | None:
    return None if tx.to == CREATE_CONTRACT_ADDRESS else to_checksum_address(tx.to)


def _place(mined: Mined | None) -> Json:
    if mined is None:
        return {"blockHash": None, "blockNumber": None, "transactionIndex": None}
    header = mined.header
    return {
        "blockHash": _hex(header.hash),
        "blockNumber": hex(header.block_number),
        "transactionIndex": "0x0",
    }


def _transaction_json(tx: SignedTransactionAPI, mined: Mined | None) -> Json:
    type_id = getattr(tx, "type_id", None) or 0
    shown: Json = {
        **_place(mined),
        "hash": _hex(tx.hash),
        "type": hex(type_id),
        "chainId": None if tx.chain_id is None else hex(tx.chain_id),
        "from": to_checksum_address(tx.sender),
        "to": _to(tx),
        "nonce": hex(tx.nonce),
        "gas": hex(tx.gas),
        "value": hex(tx.value),
        "input": _hex(tx.data),
        "gasPrice": hex(tx.max_fee_per_gas if mined is None else mined.gas_price),
        "r": hex(tx.r),
        "s": hex(tx.s),
        "v": hex(tx.y_parity if type_id else tx.v),  # type: ignore[attr-defined]
    }
    if type_id == 2:
        shown["maxFeePerGas"] = hex(tx.max_fee_per_gas)
        shown["maxPriorityFeePerGas"] = hex(tx.max_priority_fee_per_gas)
    return shown


def _receipt_json(mined: Mined) -> Json:
    created = mined.contract_address
    return {
        **_place(mined),
        "transactionHash": _hex(mined.tx.hash),
        "type": hex(getattr(mined.tx, "type_id", None) or 0),
        "from": to_checksum_address(mined.tx.sender),
        "to": _to(mined.tx),
        "status": "0x1" if mined.ok else "0x0",
        "gasUsed": hex(mined.gas_used),
        "cumulativeGasUsed": hex(mined.gas_used),
        "effectiveGasPrice": hex(mined.gas_price),
        "contractAddress": None if created is None else to_checksum_address(created),
        "logs": [_log_json(mined, i) for i in range(len(mined.logs))],
        "logsBloom": f"0x{mined.header.bloom:0512x}",
    }


def _log_json(mined: Mined, i: int) -> Json:
    address, topics, data = mined.logs[i]
    return {
        **_place(mined),
        "transactionHash": _hex(mined.tx.hash),
        "logIndex": hex(i),
        "address": to_checksum_address(address),
        "topics": [f"0x{topic:064x}" for topic in topics],
        "data": _hex(data),
        "removed": False,
    }


def _block_json(header: BlockHeaderAPI, txs: Sequence[Any]) -> Json:
    return {
        "number": hex(header.block_number),
        "hash": _hex(header.hash),
        "parentHash": _hex(header.parent_hash),
        "timestamp": hex(header.timestamp),
        "miner": to_checksum_address(header.coinbase),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "baseFeePerGas": hex(base_fee(header)),
        "mixHash": _hex(header.mix_hash),
        "nonce": _hex(header.nonce),
        "difficulty": hex(header.difficulty),
        "totalDifficulty": "0x0",
        "extraData": _hex(header.extra_data),
        "logsBloom": f"0x{header.bloom:0512x}",
        "sha3Uncles": _hex(header.uncles_hash),
        "stateRoot": _hex(header.state_root),
        "transactionsRoot": _hex(header.transaction_root),
        "receiptsRoot": _hex(header.receipt_root),
        "size": "0x0",
        "uncles": [],
        "transactions": list(txs),
    }
