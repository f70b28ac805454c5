"""What must hold during a run and at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.sim.world import World


class Watch:
    """Looks on while a run happens."""

    def __init__(self, world: World) -> None:
        self.world = world

    def outcome(self) -> str:
        patient = self.world.agents["patient"]
        if patient.life is None:
            return "never began"
        states = patient.life.duty.core.states() if patient.life.alive else []
        return states[0].phase if states else "?"

    def verdict(self) -> list[str]:
        return list(self.world.defects)
