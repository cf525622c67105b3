"""local.samples: a patient's history as valid DICOM, the same every time, of realistic size."""

from datetime import date
from hashlib import sha256
from pathlib import Path
from statistics import mean

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import config, dcmread

from teleprefetch.dicom import is_uid
from teleprefetch.errors import InvalidPayloadError
from teleprefetch.local.samples import EXPECTED_ORDER, SampleArchive, SampleStudy, write_samples

TODAY = date(2026, 3, 2)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> SampleArchive:
    return write_samples(tmp_path_factory.mktemp("samples"), today=TODAY, scale=0.1)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.settings, "reading_validation_mode", config.RAISE)


def everyone(archive: SampleArchive) -> tuple[SampleStudy, ...]:
    return (archive.current, *archive.priors, archive.stranger)


def files(study: SampleStudy) -> list[Path]:
    return sorted(study.folder.rglob("*.dcm"))


def headers(study: SampleStudy) -> list[pydicom.FileDataset]:
    return [dcmread(path, stop_before_pixels=True) for path in files(study)]


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*.dcm")
    }


def test_every_value_of_every_file_passes_strict_validation(
    archive: SampleArchive, strict: None
) -> None:
    for study in everyone(archive):
        for path in files(study):
            dataset = dcmread(path)
            values = [element.value for element in dataset.iterall()]
            assert len(values) > 40
            assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


def test_a_study_is_as_its_record_says(archive: SampleArchive) -> None:
    for study in everyone(archive):
        found = headers(study)

        assert len(found) == study.instances
        assert {dataset.StudyInstanceUID for dataset in found} == {study.study_instance_uid}
        assert {dataset.StudyDate for dataset in found} == {f"{study.study_date:%Y%m%d}"}
        assert {dataset.StudyDescription for dataset in found} == {study.description}


def test_the_current_study_is_todays_and_every_prior_is_older(archive: SampleArchive) -> None:
    assert archive.current.study_date == TODAY
    assert len(archive.priors) >= 8
    assert all(prior.study_date < TODAY for prior in archive.priors)


def test_the_stranger_shares_nothing_with_the_patient_but_the_name(archive: SampleArchive) -> None:
    ours = [dataset for study in (archive.current, *archive.priors) for dataset in headers(study)]
    theirs = headers(archive.stranger)

    assert {str(dataset.PatientName) for dataset in ours + theirs} == {"Sample^Patient"}
    assert {dataset.PatientID for dataset in ours} == {archive.patient_id}
    assert archive.patient_id not in {dataset.PatientID for dataset in theirs}
    assert {dataset.IssuerOfPatientID for dataset in ours + theirs} == {archive.issuer}


def test_uids_are_valid_and_instances_unique(archive: SampleArchive) -> None:
    found = [dataset for study in everyone(archive) for dataset in headers(study)]
    instances = [dataset.SOPInstanceUID for dataset in found]

    assert len(set(instances)) == len(instances)
    for dataset in found:
        assert is_uid(dataset.StudyInstanceUID)
        assert is_uid(dataset.SeriesInstanceUID)
        assert is_uid(dataset.SOPInstanceUID)


def test_the_knees_tell_their_sides(archive: SampleArchive) -> None:
    sides = {
        study.folder.name: {dataset.ImageLaterality for dataset in headers(study)}
        for study in archive.priors
        if "knee" in study.folder.name
    }

    assert sides == {"dx-knee-left-9-months": {"L"}, "cr-knee-right-6-years": {"R"}}


def test_slices_lie_in_order_in_space_with_distinct_places(archive: SampleArchive) -> None:
    axial = [dataset for dataset in headers(archive.current) if dataset.SeriesNumber == 2]
    heights = [
        float(dataset.ImagePositionPatient[2])
        for dataset in sorted(axial, key=lambda dataset: dataset.InstanceNumber)
    ]

    assert len(heights) == 6
    assert heights == sorted(set(heights), reverse=True)
    assert len({dataset.FrameOfReferenceUID for dataset in axial}) == 1


def test_the_echocardiogram_keeps_its_frames_as_they_were_compressed(
    archive: SampleArchive,
) -> None:
    (echo,) = (study for study in archive.priors if study.folder.name == "echo-5-months")

    (dataset,) = (dcmread(path) for path in files(echo))

    assert dataset.NumberOfFrames == 30
    frames = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=30))
    assert imagecodecs.jpeg8_decode(frames[29]).shape == (240, 320, 3)


def test_ct_compresses_as_real_ct_does(archive: SampleArchive) -> None:
    for study in (archive.current, archive.priors[0], archive.stranger):
        pixels = [dcmread(path).pixel_array for path in files(study)]
        ratios = [
            frame.nbytes / len(imagecodecs.htj2k_encode(frame, reversible=True)) for frame in pixels
        ]

        assert 2.2 < mean(ratios) < 3.5
        assert min(ratios) > 2
        assert max(ratios) < 4


def test_a_ct_slice_holds_air_lung_soft_tissue_and_bone(archive: SampleArchive) -> None:
    dataset = dcmread(files(archive.current)[2])
    hounsfield = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)

    share = [
        float(np.mean((low <= hounsfield) & (hounsfield < high)))
        for low, high in ((-1100, -950), (-950, -700), (-50, 150), (350, 2000))
    ]

    assert all(part > 0.01 for part in share), share


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    first = write_samples(tmp_path / "a", today=TODAY, scale=0.04, seed=7)
    second = write_samples(tmp_path / "b", today=TODAY, scale=0.04, seed=7)

    assert digests(first.root) == digests(second.root)


def test_another_seed_writes_other_studies(archive: SampleArchive, tmp_path: Path) -> None:
    other = write_samples(tmp_path, today=TODAY, scale=0.04, seed=2)

    ours = {study.study_instance_uid for study in everyone(archive)}
    assert ours.isdisjoint(study.study_instance_uid for study in everyone(other))


def test_scale_is_the_share_of_slices(archive: SampleArchive) -> None:
    assert archive.current.instances == 8
    assert {study.folder.name: study.instances for study in archive.priors}[
        "ct-chest-8-months"
    ] == 5


def test_at_full_scale_there_are_a_few_hundred_instances_and_a_bounded_volume(
    tmp_path: Path,
) -> None:
    archive = write_samples(tmp_path, today=TODAY)
    paths = [path for study in everyone(archive) for path in files(study)]
    size_bytes = sum(path.stat().st_size for path in paths)

    assert 200 <= len(paths) <= 280
    assert archive.current.instances == 80
    assert 120e6 < size_bytes < 170e6  # a third of it as HTJ2K


@pytest.mark.parametrize("scale", [0.0, -1.0, 4.5, float("nan")])
def test_a_senseless_scale_is_refused(tmp_path: Path, scale: float) -> None:
    with pytest.raises(InvalidPayloadError, match=r"^scale: "):
        write_samples(tmp_path, today=TODAY, scale=scale)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(InvalidPayloadError, match=r"^folder: must be empty"):
        write_samples(tmp_path, today=TODAY, scale=0.1)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_expected_order_names_priors_once_each(archive: SampleArchive) -> None:
    named = [slug for tier in EXPECTED_ORDER for slug in tier]
    priors = {study.folder.name for study in archive.priors}

    assert len(named) == len(set(named))
    assert set(named) == priors - {"mr-liver-2-years"}
    assert EXPECTED_ORDER[0] == ("ct-chest-8-months",)
