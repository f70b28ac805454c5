"""Test vectors for another implementation (a phone): a small network, seeds, and what every frame must be.

    PYTHONPATH=. python tests/protocols/blind/vectors.py            writes vectors.json anew
    PYTHONPATH=. python tests/protocols/blind/vectors.py --check    exits with 1 where it differs

All bytes are hexadecimal. `network` is `Network.encode()`, weights and salt included: nothing here is secret. Each
frame has sender, receiver, kind, length and BLAKE2b-256 of the whole frame; short frames stand in full. The frames
of a link come in this order; between links any order that each party accepts will do.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from blind_samples import draw, fill, images, topology

from protocols.blind.kernels import Kernels, PortableKernels
from protocols.blind.layers import Affine, Clip, Conv, ConvTranspose, Dense, Flatten, MaxPool, Scale, SumPool
from protocols.blind.local import Seeds, run_local
from protocols.blind.messages import Kind, decode_frame
from protocols.blind.network import Network
from protocols.blind.prg import Stream

FILE = Path(__file__).with_name("vectors.json")
IN_FULL = 160  # bytes


def networks() -> dict[str, Network]:
    """One network with a floor below 0, a maximum, a skip and two logits; one that ends in a picture."""
    judge = (
        Affine((Conv(0, 2, 3, 2, 1),)),
        Clip(1, 4, 2),
        Affine((Conv(2, 2, 1), Scale(2))),
        Clip(3, 3, 3, -4),
        MaxPool(4, 2, 1),
        SumPool(5, 2, 1),
        Flatten(6),
        Affine((Dense(7, 2),)),
    )
    painter = (Affine((Conv(0, 2, 2, 2, 0, 0),)), Clip(1, 5, 3), Affine((ConvTranspose(2, 1, 2, 2),)))
    return {
        "judge": fill(topology(judge, (1, 6, 6), 18, thresholds=(40, 400, 4000)), 1),
        "painter": fill(topology(painter, (1, 4, 6), 20), 2),
    }


def vector(name: str, network: Network, kernels: Kernels) -> dict[str, Any]:
    """One session, two images, everything that another implementation needs and must find."""
    top = network.topology
    batch = np.stack([images(top.input_shape, 1)[kind] for kind in ("random", "board")])
    seeds = Seeds(*(draw(f"vector {name} {what}") for what in ("patient", "model", "fresh")))
    session = draw(f"vector {name} session")
    patient, model, transcript = run_local(network, batch, seeds, session, kernels=kernels)
    frames = []
    for sender, to, sent in transcript:
        data = bytes(sent)
        frame: dict[str, Any] = {
            "from": sender.value,
            "to": to.value,
            "kind": Kind(decode_frame(data).kind).name,
            "length": len(data),
            "blake2b": hashlib.blake2b(data, digest_size=32).hexdigest(),
        }
        frames.append(frame | ({"bytes": data.hex()} if len(data) <= IN_FULL else {}))
    return {
        "name": name,
        "network": network.encode().hex(),
        "network_hash": network.network_hash().hex(),
        "topology": top.encode().hex(),
        "topology_digest": top.digest.hex(),
        "images": batch.tolist(),
        "session": session.hex(),
        "tape": bytes(b ^ 0x55 for b in session).hex(),
        "seeds": {
            "patient": seeds.patient_dealer.hex(),
            "model": seeds.model_dealer.hex(),
            "fresh": seeds.dealer.hex(),
        },
        "frames": frames,
        "opened_logits": patient.logits.tolist(),
        "buckets": patient.buckets,
        "bucket_of_the_first": model.bucket,
    }


def stream_vectors() -> list[dict[str, Any]]:
    """The key derivation and cipher alone."""
    made = []
    for seed, context in ((bytes(32), ()), (bytes(range(32)), (b"",)), (draw("s"), (b"tape", b"\x00\x01"))):
        first = Stream(seed, *context).octets(48).tobytes()
        made.append({"seed": seed.hex(), "context": [c.hex() for c in context], "octets": first.hex()})
    return made


def everything(kernels: Kernels | None = None) -> dict[str, Any]:
    """The whole file."""
    used = kernels or PortableKernels()
    return {
        "version": 2,
        "streams": stream_vectors(),
        "sessions": [vector(name, network, used) for name, network in networks().items()],
    }


def written() -> str:
    return json.dumps(everything(), indent=1) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if FILE.read_text() == written() else 1)
    FILE.write_text(written())
