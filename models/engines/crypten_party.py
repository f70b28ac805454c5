"""One of the three processes of the CrypTen engine: the model, the patient or the provider.

    rank 0, model      holds the weights; asks the provider for triples
    rank 1, patient    holds the image; the logits are opened to it alone
    rank 2, provider   draws triples from seeds that it shares with each of the two; sees neither weights nor image

They meet through a file in a private folder, then speak over gloo on loopback. The parent talks to each over a
pipe: ("ask", images) to the patient, ("ask", number of images) to the model. Every party says ("ready", None),
("told", ...) or ("failed", why).
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

MODEL, PATIENT, PROVIDER = 0, 1, 2
ROLES = ("model", "patient", "provider")
_FRACTION = 2.0**16  # CrypTen's fixed point


@dataclass(slots=True)
class Opened:
    """What a party counted in one inference. bytes: sent and received. layers: node number -> (seconds, bytes)."""

    last: NDArray[np.float32] | None
    seconds: float
    bytes: int
    rounds: int
    layers: dict[int, tuple[float, int]] = field(default_factory=dict)


def prepare(rank: int, meeting: Path) -> None:
    """Say to CrypTen, before it is imported, who this process is and where the three meet; one thread, no chatter."""
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE="2",
        RENDEZVOUS=meeting.as_uri(),
        DISTRIBUTED_BACKEND="gloo",
        GLOO_SOCKET_IFNAME="lo0" if sys.platform == "darwin" else "lo",
    )
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)


def run_party(rank: int, meeting: Path, topology: bytes, network: bytes | None, pipe: Connection) -> None:
    """The life of one party, until the pipe closes. network: the model's alone."""
    prepare(rank, meeting)
    try:
        if rank == PROVIDER:
            serve_triples(pipe)
        else:
            _take_part(rank, topology, network, pipe)
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:  # whatever CrypTen, gloo or torch raises ends this engine, and is said
        pipe.send(("failed", f"{type(error).__name__}: {str(error)[:300]}"))


def serve_triples(pipe: Connection) -> None:
    """The provider: it answers the model's requests until the model is gone."""
    from models.engines.crypten_repairs import crypten

    torch.seed()  # its seeds are drawn from torch's generator
    pipe.send(("ready", None))
    crypten.mpc.provider.ttp_provider.TTPServer()


def _take_part(rank: int, topology: bytes, network: bytes | None, pipe: Connection) -> None:
    from models.engines.plain import PlainGraph
    from protocols.blind.network import Network
    from protocols.blind.topology import Topology

    provider = meet()
    public = Topology.decode(topology)
    graph = PlainGraph(public)
    shared = convert(graph, public.input_shape)
    if network is not None:
        graph.fill(Network.decode(network))
        hand_over(graph, shared)
    shared.encrypt(src=MODEL)
    shared.eval()
    pipe.send(("ready", provider))
    while True:
        _, asked = pipe.recv()
        told = infer(rank, shared, asked, public.input_shape)
        pipe.send(("told", told))


def meet() -> str:
    """Meet the two others; the provider's kind. Raises RuntimeError unless it is the third party."""
    from models.engines.crypten_repairs import cfg, crypten

    cfg.communicator.verbose = True  # so that it counts
    crypten.init()
    provider = type(crypten.mpc.get_default_provider()).__name__
    if provider != "TrustedThirdParty":
        raise RuntimeError(f"CrypTen would run with {provider}")
    return provider


def convert(graph: torch.nn.Module, input_shape: tuple[int, ...]) -> Any:
    """The CrypTen network of a torch module. With made-up weights: both parties convert the same public thing, and
    no two tensors are equal, which the exporter would make one."""
    from models.engines.crypten_repairs import crypten

    return crypten.nn.from_pytorch(graph.eval(), torch.zeros(1, *input_shape))


def hand_over(graph: torch.nn.Module, shared: Any) -> None:
    """Put a module's weights into its conversion, rounded to CrypTen's fixed point, which would cut them off."""
    for name, value in graph.named_parameters():
        held = shared._modules[name].data
        if held.shape != value.shape:
            raise RuntimeError(f"the conversion changed the shape of {name}")
        held.copy_(torch.round(value.detach() * _FRACTION) / _FRACTION)


def infer(rank: int, shared: Any, asked: Any, input_shape: tuple[int, ...]) -> Opened:
    """One batch, as a party sees it. asked: the patient's images, in their unit; or how many they are."""
    from models.engines.crypten_repairs import communicator, crypten

    images = torch.from_numpy(asked) if rank == PATIENT else torch.zeros(asked, *input_shape)
    link = communicator.get()
    layers = _Layers(link)
    link.barrier()
    link.reset_communication_stats()
    begun = time.perf_counter()
    with crypten.no_grad(), layers.watching(shared):
        hidden = crypten.cryptensor(images, src=PATIENT)
        opened = shared(hidden).get_plain_text(dst=PATIENT)
    seconds = time.perf_counter() - begun
    counted = link.get_communication_stats()
    last = opened.numpy() if rank == PATIENT else None
    return Opened(last, seconds, int(counted["bytes"]), int(counted["rounds"]), dict(layers.costs))


class _Layers:
    """Counts what each node of the graph costs: CrypTen names what it converted after the torch submodule."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self._plain: list[Any] = []
        self.costs: dict[int, tuple[float, int]] = defaultdict(lambda: (0.0, 0))

    def watching(self, shared: Any) -> _Layers:
        """For `with`: every module of the graph is timed."""
        for name, module in shared._modules.items():
            node = name.lstrip("/").split("/")[0].split(".")
            if len(node) == 2 and node[0] == "nodes" and node[1].isdigit():
                module.forward = self._timed(object.__getattribute__(module, "forward"), int(node[1]))
                self._plain.append(module)
        return self

    def _timed(self, forward: Callable[..., Any], node: int) -> Callable[..., Any]:
        def timed(*inputs: Any) -> Any:
            begun, before = time.perf_counter(), self._link.comm_bytes
            made = forward(*inputs)
            seconds, count = self.costs[node]
            spent, sent = time.perf_counter() - begun, self._link.comm_bytes - before
            self.costs[node] = (seconds + spent, count + int(sent))
            return made

        return timed

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        for module in self._plain:
            del module.__dict__["forward"]
