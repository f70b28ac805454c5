"""What must not be shown by accident: objects that refuse `repr`, `bool`, and pickling."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Base of every object that holds weights, an image, a seed or a share."""

    def __repr__(self) -> str:
        raise TypeError(
            f"{type(self).__name__} holds secrets and has no repr; print its public fields instead"
        )

    def __bool__(self) -> bool:
        raise TypeError(f"{type(self).__name__} holds secrets and has no truth value; compare it with None")

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} holds secrets and cannot be pickled; use its encoder")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self.__reduce__()
