"""Pictures a case begins with: reading them, preparing them for a network, showing them.

    scan = load_scan(Path("slice.dcm"))      # JPEG, PNG, DICOM, NIfTI; anything else is one ScanError
    require_modality(scan, card.modalities)  # a chest film is not for a brain network
    image = prepare(scan, 3, 32)             # int8 (C, H, W): what the network's first layer takes

A `Scan` is pixels and the kind of machine that made them, nothing else: no header, no file name, no date.
That is the whole of the de-identification here; text burned into the picture and a face in a volume stay.
"""

from models.scans.load import load_scan
from models.scans.prepare import prepare
from models.scans.render import to_png
from models.scans.scan import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    MAX_SIDE,
    MIN_SIDE,
    Scan,
    make_scan,
    require_modality,
    scan_bytes,
    scan_from_bytes,
)
from models.scans.synthetic import sample_scan_path, synthetic_scan

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MIN_SIDE",
    "Scan",
    "load_scan",
    "make_scan",
    "prepare",
    "require_modality",
    "sample_scan_path",
    "scan_bytes",
    "scan_from_bytes",
    "synthetic_scan",
    "to_png",
]
