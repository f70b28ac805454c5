"""A scan as a picture for people: 8-bit grey PNG, nothing but pixels inside."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from models.scans.scan import Scan


def to_png(scan: Scan, max_side: int = 1024) -> bytes:
    """The scan as an 8-bit grey PNG whose longer side is at most `max_side`; never enlarged, no metadata."""
    image = Image.fromarray(np.rint(scan.pixels * 255).astype(np.uint8))
    if max(image.size) > max_side:
        scale = max_side / max(image.size)
        columns, rows = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((columns, rows), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, format="PNG", optimize=True)
    return out.getvalue()
