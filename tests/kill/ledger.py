"""What the chain says happened, read from its blocks and not from the agents."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from typing import Any

from contracts.abi import artifact
from contracts.bindings import Contracts
from contracts.chain.address_book import AddressBook


@dataclass(frozen=True)
class Tx:
    """One mined transaction. name: `Contract.function`, or `pay` for plain wei."""

    sender: str
    to: str
    name: str
    data: str
    value: int
    ok: bool
    fee: int


class Ledger:
    """A chain asked over JSON-RPC, without keys."""

    def __init__(self, url: str, book: AddressBook) -> None:
        self.url = url
        self.book = book
        self.contracts = Contracts(book)
        self._names: dict[tuple[str, str], str] = {}
        for contract, address in book.contracts.items():
            for function, entry in artifact(contract).abi.functions.items():
                self._names[address.lower(), entry.hash[:4].hex()] = f"{contract}.{function}"

    def request(self, method: str, *params: Any) -> Any:
        """One request. Raises OSError when the chain does not answer."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}).encode()
        wanted = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(wanted, timeout=60) as answer:
            found = json.load(answer)
        if "error" in found:
            raise RuntimeError(f"{method}: {found['error']}")
        return found["result"]

    def ask(self, question: Any) -> Any:
        """A binding's read, now."""
        data = self.request("eth_call", {"to": question.to, "data": "0x" + question.data.hex()}, "latest")
        return question.decode(bytes.fromhex(data[2:]))

    def head(self) -> int:
        return int(self.request("eth_blockNumber"), 16)

    def balance(self, account: str) -> int:
        return int(self.request("eth_getBalance", account, "latest"), 16)

    def grant(self, account: str, wei: int) -> None:
        """Play money."""
        self.request("crypdoc_grant", account, hex(wei))

    def transactions(self, first: int) -> list[Tx]:
        """All that was mined from block `first` to now."""
        found = []
        for number in range(first, self.head() + 1):
            block = self.request("eth_getBlockByNumber", hex(number), True)
            found += [self._tx(tx) for tx in block["transactions"]]
        return found

    def _tx(self, tx: dict[str, Any]) -> Tx:
        receipt = self.request("eth_getTransactionReceipt", tx["hash"])
        data, to = tx["input"], tx["to"] or ""
        name = "pay" if len(data) <= 2 else self._names.get((to.lower(), data[2:10]), "other")
        fee = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
        ok = receipt["status"] == "0x1"
        return Tx(tx["from"].lower(), to.lower(), name, data, int(tx["value"], 16), ok, fee)

    def case_events(self, case_id: int, first: int) -> list[tuple[str, dict[str, Any]]]:
        """Every event of a case, of all contracts: (name, values)."""
        wanted = {
            "fromBlock": hex(first),
            "toBlock": "latest",
            "topics": [None, "0x" + case_id.to_bytes(32, "big").hex()],
        }
        events = {a.lower(): artifact(n).abi for n, a in self.book.contracts.items()}
        found = []
        for log in self.request("eth_getLogs", wanted):
            topics = [bytes.fromhex(t[2:]) for t in log["topics"]]
            abi = events.get(log["address"].lower())
            decoded = abi.decode_event(topics, bytes.fromhex(log["data"][2:])) if abi else None
            if decoded is not None:
                found.append(decoded)
        return found
