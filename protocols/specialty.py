"""What a panel can be asked: the specialties, their verdicts, and the pictures they read."""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils.crypto import keccak

from protocols.errors import UserError

INSUFFICIENT = "insufficient evidence"
"""Verdict code 0 on chain, public, never slashed."""


@dataclass(frozen=True, slots=True)
class Specialty:
    """A field of reading. labels: its verdicts, the finding last; finding: the label a network's logit speaks for."""

    name: str
    labels: tuple[str, ...]
    modalities: frozenset[str]

    @property
    def id(self) -> bytes:
        """32 bytes, `keccak256` of the name: how contracts know it."""
        return keccak(text=self.name)

    @property
    def finding(self) -> str:
        return self.labels[-1]


SPECIALTIES = {
    s.name: s
    for s in (
        Specialty("neuroradiology", ("no tumour", "tumour"), frozenset({"MR", "unknown"})),
        Specialty("chest radiology", ("no infiltrate", "infiltrate"), frozenset({"CT"})),
    )
}


def specialty(name: str) -> Specialty:
    """The specialty of that name. Raises `UserError` for an unknown one."""
    try:
        return SPECIALTIES[name]
    except KeyError:
        raise UserError(
            f"there is no specialty {name!r}", f"choose one of {', '.join(SPECIALTIES)}"
        ) from None


def specialty_of(identifier: bytes) -> Specialty | None:
    """The specialty with that 32-byte id, or None."""
    return next((s for s in SPECIALTIES.values() if s.id == identifier), None)
