"""Blind inference: a patient's image through a model's network, with a dealer, each blind to the rest.

Read in this order: `topology.py` and `network.py` (what is computed), `masking.py` and `bucket.py` (the equations),
`patient.py`, `model.py`, `dealer.py` (who does what), `schedule.py` (what is sent), `local.py` (all three in one
process). `kernels/` is the arithmetic, `reference.py` the same network in the clear, `bounds.py` the proof that
nothing wraps. The page is `docs/blind-inference.md`.
"""

from protocols.blind.dealer import TapeSeeds, deal_tape
from protocols.blind.kernels import best_kernels
from protocols.blind.local import Seeds, run_local
from protocols.blind.messages import MAX_FRAME_BYTES, Out, Role
from protocols.blind.model import ModelParty, ModelResult
from protocols.blind.network import Network
from protocols.blind.patient import PatientParty, PatientResult
from protocols.blind.schedule import Costs, costs
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.weights import MaskedWeights, ModelWeights, Pads

__all__ = [
    "MAX_FRAME_BYTES",
    "Costs",
    "MaskedWeights",
    "ModelParty",
    "ModelResult",
    "ModelWeights",
    "Network",
    "Out",
    "Pads",
    "PatientParty",
    "PatientResult",
    "Role",
    "Seeds",
    "TapeSeeds",
    "Topology",
    "UsedSessions",
    "best_kernels",
    "costs",
    "deal_tape",
    "run_local",
]
