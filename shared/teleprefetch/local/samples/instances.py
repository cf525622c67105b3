"""The DICOM attributes of the samples: what archives index, rankers weigh and viewers need."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, generate_uid

from teleprefetch.local.samples.pictures import Picture
from teleprefetch.local.samples.plans import Exam, Person, SeriesPlan

# SOP classes: PS3.4 B.5. The rest are the type 1 and 2 attributes of the IODs (PS3.3 A.3, A.4,
# A.7, A.26, A.2) that no scanner of ours sets by picture.
_BY_MODALITY: Final[dict[str, dict[str, object]]] = {
    "CT": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "KVP": 120,
        "AcquisitionNumber": 1,
        "PatientPosition": "HFS",
    },
    "MR": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4",
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "SE"],
        "ScanningSequence": "SE",
        "SequenceVariant": "SK",
        "ScanOptions": "",
        "MRAcquisitionType": "2D",
        "RepetitionTime": 4500,
        "EchoTime": 98,
        "EchoTrainLength": 15,
        "MagneticFieldStrength": 1.5,
        "PatientPosition": "HFS",
    },
    "DX": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "PresentationIntentType": "FOR PRESENTATION",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1,
        "PresentationLUTShape": "IDENTITY",
        "DetectorType": "DIRECT",
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
    },
    "CR": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "KVP": 110,
        "BurnedInAnnotation": "NO",
    },
    "US": {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.3.1",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "BurnedInAnnotation": "NO",
    },
}
_SLICED: Final = {"CT", "MR"}


@dataclass(frozen=True, slots=True)
class Uids:
    """UIDs under pydicom's root, the same for the same seed and day (PS3.5 B.1)."""

    seed: int
    today: date

    def of(self, *what: object) -> UID:
        """The UID of what the words name."""
        return generate_uid(entropy_srcs=[str(self.seed), self.today.isoformat(), *map(str, what)])


def instances(
    exam: Exam,
    plan: SeriesPlan,
    person: Person,
    *,
    uids: Uids,
    when: date,
    pictures: Iterator[Picture],
) -> Iterator[Dataset]:
    """The series' instances, one after another in the same data set: write each before the next."""
    dataset = _series(exam, plan, person, uids=uids, when=when)
    for number, picture in enumerate(pictures, 1):
        dataset.SOPInstanceUID = uids.of(person.patient_id, exam.slug, plan.number, number)
        dataset.InstanceNumber = number
        for keyword, value in picture.attributes.items():
            setattr(dataset, keyword, value)
        dataset.PixelData = picture.pixels
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = UID(picture.transfer_syntax_uid)
        dataset.file_meta = meta
        dataset["PixelData"].VR = "OB" if meta.TransferSyntaxUID.is_encapsulated else "OW"
        dataset["PixelData"].is_undefined_length = meta.TransferSyntaxUID.is_encapsulated
        yield dataset


def _series(exam: Exam, plan: SeriesPlan, person: Person, *, uids: Uids, when: date) -> Dataset:
    dataset = Dataset()
    study = _study_attributes(exam, person, uids=uids, when=when)
    series = _series_attributes(exam, plan, person, uids=uids, when=when)
    for keyword, value in (study | series | _BY_MODALITY[exam.modality]).items():
        setattr(dataset, keyword, value)
    return dataset


def _study_attributes(exam: Exam, person: Person, *, uids: Uids, when: date) -> dict[str, object]:
    day = when.strftime("%Y%m%d")
    return {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": person.name,
        "PatientID": person.patient_id,
        "IssuerOfPatientID": person.issuer,
        "PatientBirthDate": person.birth_date,
        "PatientSex": person.sex,
        "PatientAge": f"{(int(day) - int(person.birth_date)) // 10000:03d}Y",
        "StudyInstanceUID": uids.of(person.patient_id, exam.slug),
        "StudyID": exam.slug[:16],
        "StudyDate": day,
        "StudyTime": exam.time,
        "StudyDescription": exam.description,
        "AccessionNumber": f"S{uids.of(person.patient_id, exam.slug, 'order')[-10:]}",
        "ReferringPhysicianName": "",
        "Manufacturer": "Made up",
        "InstitutionName": "Made-up General",
    }


def _series_attributes(
    exam: Exam, plan: SeriesPlan, person: Person, *, uids: Uids, when: date
) -> dict[str, object]:
    day = when.strftime("%Y%m%d")
    series: dict[str, object] = {
        "Modality": exam.modality,
        "SeriesInstanceUID": uids.of(person.patient_id, exam.slug, plan.number),
        "SeriesNumber": plan.number,
        "SeriesDescription": plan.description,
        **dict.fromkeys(("SeriesDate", "AcquisitionDate", "ContentDate"), day),
        **dict.fromkeys(("SeriesTime", "AcquisitionTime", "ContentTime"), exam.time),
        "BodyPartExamined": exam.body_part,
        "ProtocolName": exam.protocol,
        "Laterality": exam.laterality,
    }
    if exam.modality in _SLICED:
        series["FrameOfReferenceUID"] = uids.of(person.patient_id, exam.slug, "frame of reference")
        series["PositionReferenceIndicator"] = ""
    if exam.modality in {"DX", "CR"}:
        series["ImageLaterality"] = exam.laterality or "U"
    return series
