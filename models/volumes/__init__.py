"""Volumes a segmentation begins with: reading them, and writing masks back in the frame they came in.

    volume = read_volume(Path("chest.nii.gz"))   # or a folder of one DICOM series, or an .npz
    labels = read_labels(Path("lesions.nii.gz"), volume)
    write_nifti(mask, volume, Path("mask.nii.gz"))

Of a header only what turns numbers into greys and places is kept. A face in a volume stays.
"""

from models.volumes.load import READABLE_VOLUMES, read_labels, read_volume
from models.volumes.seg import write_dicom_seg
from models.volumes.volume import MAX_VOLUME_BYTES, MAX_VOLUME_SIDE, Source, Volume
from models.volumes.write import write_nifti

__all__ = [
    "MAX_VOLUME_BYTES",
    "MAX_VOLUME_SIDE",
    "READABLE_VOLUMES",
    "Source",
    "Volume",
    "read_labels",
    "read_volume",
    "write_dicom_seg",
    "write_nifti",
]
