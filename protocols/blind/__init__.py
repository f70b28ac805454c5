"""Blind inference: a patient's image through a model's network, with a dealer, each blind to the rest.

Read in this order: `topology.py` and `network.py` (what is computed), `masking.py` and `bucket.py` (the equations),
`patient.py`, `model.py`, `dealer.py` (the three state machines), `schedule.py` (what is sent), `local.py` (all three
in one process). `reference.py` is the same network in the clear, `bounds.py` the proof that nothing wraps. The page
is `docs/blind-inference.md`.
"""

from protocols.blind.dealer import DealerParty
from protocols.blind.local import Seeds, run_local
from protocols.blind.messages import MAX_FRAME_BYTES, Out, Role
from protocols.blind.model import ModelParty, ModelResult
from protocols.blind.network import Network
from protocols.blind.patient import PatientParty, PatientResult
from protocols.blind.schedule import Costs, costs
from protocols.blind.session import UsedSessions
from protocols.blind.topology import Topology
from protocols.blind.weights import MaskedWeights, mask_weights

__all__ = [
    "MAX_FRAME_BYTES",
    "Costs",
    "DealerParty",
    "MaskedWeights",
    "ModelParty",
    "ModelResult",
    "Network",
    "Out",
    "PatientParty",
    "PatientResult",
    "Role",
    "Seeds",
    "Topology",
    "UsedSessions",
    "costs",
    "mask_weights",
    "run_local",
]
