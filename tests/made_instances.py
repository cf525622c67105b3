"""What every instance that tests make has in common."""

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, generate_uid


def uid(*parts: object) -> UID:
    """The same UID for the same parts."""
    return generate_uid(entropy_srcs=["reading-room", *map(str, parts)])


def base(name: str, modality: str, sop_class: str, number: int, syntax: UID) -> Dataset:
    """An instance of a patient and a study of their own, without pixels."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = uid(name, "instance", number)
    meta.TransferSyntaxUID = syntax
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = uid(name, "study")
    dataset.SeriesInstanceUID = uid(name, "series")
    dataset.FrameOfReferenceUID = uid(name, "frame of reference")
    dataset.PatientName, dataset.PatientID = f"Kind^{name}", f"kind-{name}"
    dataset.PatientBirthDate, dataset.PatientSex = "19600101", "F"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20261120"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "101500"
    dataset.AccessionNumber, dataset.StudyID = f"A-{name}"[:16], "1"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = dataset.SeriesDescription = name
    dataset.Modality, dataset.Manufacturer = modality, "teleprefetch"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    return dataset


def pixels(dataset: Dataset, columns: int, rows: int, *, stored: int, signed: bool) -> None:
    """Say how pixels of 16 bits are stored (PS3.3 C.7.6.3)."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, stored, stored - 1
    dataset.PixelRepresentation = int(signed)
