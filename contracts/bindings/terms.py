"""The parameters of a deployment, as the contracts take them."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass
from typing import Any

from protocols.errors import UserError


@dataclass(frozen=True, slots=True)
class Terms:
    """Fixed when the contracts are made; see `Terms.sol`. Money is wei, times are seconds."""

    seat_fee: tuple[int, int, int, int]
    registration_deposit: int
    seat_deposit: int
    seating_seconds: int
    commit_seconds: int
    reveal_seconds: int
    grace_seconds: int
    epoch_blocks: int
    reading_share_bps: int
    max_rounds: int
    draw_attempts: int
    bucket_confidence: tuple[int, int, int, int]

    def as_tuple(self) -> tuple[Any, ...]:
        """The contract's struct."""
        return astuple(self)

    def to_json(self) -> dict[str, Any]:
        """For the address book."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Terms:
        """The inverse of `to_json`. Raises `UserError`."""
        try:
            fees, confidences = tuple(found["seat_fee"]), tuple(found["bucket_confidence"])
            return cls(**{**found, "seat_fee": fees, "bucket_confidence": confidences})
        except (TypeError, KeyError) as error:
            raise UserError(
                f"the terms do not fit these contracts ({error})", "deploy the contracts again"
            ) from None
