"""The few real, public pictures that come with pydicom, put into the made-up patient's name."""

from collections.abc import Iterator

from pydicom import dcmread
from pydicom.data import get_testdata_file

from teleprefetch.errors import StudyNotFoundError
from teleprefetch.local.samples.pictures import Picture

VERTEBRA_CT = "CT_small.dcm"
LIVER_MR = "examples_overlay.dcm"
ECHOCARDIOGRAM = "examples_ybr_color.dcm"

# What describes the pixels (PS3.3 C.7.6.3, C.7.6.5, C.7.6.2) stays; who and when are ours.
_KEPT = (
    "ImageType",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "FrameIncrementPointer",
    "FrameTime",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "WindowCenter",
    "WindowWidth",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
)


def real(name: str) -> Iterator[Picture]:
    """The one instance of a file that pydicom's wheel holds.

    Raises:
        StudyNotFoundError: the pydicom that is installed does not bring the file.
    """
    path = get_testdata_file(name, download=False)
    if not isinstance(path, str):
        raise StudyNotFoundError(f"samples: pydicom brings no {name}")
    source = dcmread(path)
    kept = {keyword: source[keyword].value for keyword in _KEPT if keyword in source}
    yield Picture(source.PixelData, kept, str(source.file_meta.TransferSyntaxUID))
