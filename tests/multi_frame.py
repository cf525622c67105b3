"""Studies of one instance with many frames, with functional groups (PS3.3 C.7.6.16)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian

from tests.made_instances import base, pixels

_ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
_TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"


def enhanced_ct(slices: Sequence[Dataset]) -> Dataset:
    """The slices as one enhanced multi-frame instance (PS3.3 A.38), with functional groups."""
    first = slices[0]
    dataset = base("enhanced-ct", "CT", _ENHANCED_CT, 1, ExplicitVRLittleEndian)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.NumberOfFrames = len(slices)
    dataset.BodyPartExamined, dataset.PatientPosition = "CHEST", "HFS"
    pixels(
        dataset,
        first.Columns,
        first.Rows,
        stored=int(first.BitsStored),
        signed=bool(first.PixelRepresentation),
    )
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = first.PixelSpacing
    measures.SliceThickness = first.SliceThickness
    orientation.ImageOrientationPatient = first.ImageOrientationPatient
    shared.PixelMeasuresSequence = Items([measures])
    shared.PlaneOrientationSequence = Items([orientation])
    shared.PixelValueTransformationSequence = Items([_rescale(first)])
    shared.FrameVOILUTSequence = Items([_window(40, 400)])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [_frame_of(one, number) for number, one in enumerate(slices, 1)]
    )
    dataset.PixelData = b"".join(one.PixelData for one in slices)
    return dataset


def tomosynthesis_of(breast: NDArray[np.int32], *, slices: int, spacing_mm: float) -> Dataset:
    """One breast in slices (PS3.3 A.55): the picture with noise of each slice's own."""
    rows, columns = breast.shape
    noise = np.random.default_rng(5)
    dataset = base("tomosynthesis", "MG", _TOMOSYNTHESIS, 1, ExplicitVRLittleEndian)
    dataset.ImageType = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]
    dataset.NumberOfFrames, dataset.BodyPartExamined = slices, "BREAST"
    dataset.ImageLaterality = "R"
    pixels(dataset, columns, rows, stored=12, signed=False)
    shared, measures, orientation, anatomy = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing_mm] * 2, 1
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    anatomy.FrameLaterality = "R"
    transformation = Dataset()
    transformation.RescaleIntercept, transformation.RescaleSlope = 0, 1
    transformation.RescaleType = "US"
    shared.PixelMeasuresSequence = Items([measures])
    shared.PlaneOrientationSequence = Items([orientation])
    shared.FrameAnatomySequence = Items([anatomy])
    shared.PixelValueTransformationSequence = Items([transformation])
    shared.FrameVOILUTSequence = Items([_window(1600, 2600)])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [_at_depth(number) for number in range(1, slices + 1)]
    )
    dataset.PixelData = b"".join(
        (breast + noise.integers(-30, 31, breast.shape)).clip(0, 4095).astype("<u2").tobytes()
        for _ in range(slices)
    )
    return dataset


def _at_depth(number: int) -> Dataset:
    groups, position, content = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [0, 0, number]
    content.StackID, content.InStackPositionNumber = "1", number
    content.DimensionIndexValues = [1, number]
    groups.PlanePositionSequence = Items([position])
    groups.FrameContentSequence = Items([content])
    return groups


def _frame_of(one: Dataset, number: int) -> Dataset:
    groups, position, content = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = one.ImagePositionPatient
    content.StackID, content.InStackPositionNumber = "1", number
    content.DimensionIndexValues = [1, number]
    groups.PlanePositionSequence = Items([position])
    groups.FrameContentSequence = Items([content])
    return groups


def _rescale(one: Dataset) -> Dataset:
    transformation = Dataset()
    transformation.RescaleIntercept = one.RescaleIntercept
    transformation.RescaleSlope = one.RescaleSlope
    transformation.RescaleType = "HU"
    return transformation


def _window(center: int, width: int) -> Dataset:
    window = Dataset()
    window.WindowCenter, window.WindowWidth = center, width
    return window
