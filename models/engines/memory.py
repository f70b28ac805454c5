"""Memory that is kept: what was freed serves the next session instead of going back to the system.

A session allocates hundreds of megabytes of randomness in pieces of a few; giving them back and asking anew makes the
system clear every page again, which took half of the time ahead of an inference (U-Net, 1x128x128, two cores).
"""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = (1 << 31) - 1
IN_HEAP = 1 << 25  # the most that glibc takes


def keep_freed_memory() -> None:
    """Tells the C library's allocator so, where it is glibc's; elsewhere nothing happens."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_TRIM_THRESHOLD, KEPT)
        library.mallopt(M_MMAP_THRESHOLD, IN_HEAP)
