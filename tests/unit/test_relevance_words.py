"""domain.describe and domain.exam: what real descriptions say, in seven languages."""

import pytest

from teleprefetch.domain.describe import read
from teleprefetch.domain.exam import exam_of
from teleprefetch.domain.lexicon import lexicon
from teleprefetch.domain.regions import regions, worth
from teleprefetch.model import PatientKey, SeriesPointer, SeriesRecord, StudyRecord


def an_exam(description: str, *modalities: str, series=()):
    return exam_of(
        StudyRecord(
            study_instance_uid="1.2.3",
            patient=PatientKey(patient_id="P"),
            study_description=description,
            modalities_in_study=modalities,
            series=series,
        )
    )


@pytest.mark.parametrize(
    ("description", "modality", "regions_read"),
    [
        ("CT_C_A_P W CNTRST", "CT", "CHEST ABDOMEN PELVIS"),
        ("CT ABD/PEL", "CT", "ABDOMEN PELVIS"),
        ("CT NECK/CHEST/ABD/PEL", "CT", "NECK CHEST ABDOMEN PELVIS"),
        ("PET CT SKULL TO THIGH", "PT", "WHOLEBODY"),
        ("CT CHEST W/ CON", "CT", "CHEST"),
        ("MAM screen BI with tomo", "MG", "BREAST"),
        ("DIGITAL SCREENER W CAD", "MG", "BREAST"),
        ("NM MYO PERF", "NM", "HEART"),
        ("MRI LUMBAR SPNE W/O CNTRST", "MR", "LSPINE"),
        ("XR L SPINE 2V", "XR", "LSPINE"),
        ("cervicaL SPINE", "", "CSPINE"),
        ("DXA HIP AND SPINE", "BMD", "BONE_DENSITY"),
        ("US LE VEN DOPPLER RT", "US", "LEG_VESSEL"),
        ("ECHO 2D COMPLETE", "US", "HEART"),
        ("RENAL U.S.", "US", "KIDNEY"),
        ("CTHEAD", "CT", "BRAIN"),
        ("XR SHOUDLER LT", "XR", "SHOULDER"),
        ("RESONANCIA MAGNETICA DE PELVE", "MR", "PELVIS"),
        ("PET-CT (Ganzkoerper nativ)", "PT", "WHOLEBODY"),
        ("Abdomen^TRIO_TX", "", "ABDOMEN"),
        ("MRT Kniegelenk re.", "MR", "KNEE"),
        ("Schädel-CT nativ", "CT", "BRAIN"),
        ("Sch\ufffddel-CT", "CT", "BRAIN"),
        ("Ro\u0308ntgen Thorax", "XR", "CHEST"),
        ("IRM cérébrale", "MR", "BRAIN"),
        ("Radio thorax face", "XR", "CHEST"),
        ("Ecografía renal y vesical", "US", "KIDNEY BLADDER"),
        ("TC seios da face", "CT", "FACE"),
        ("RX piede dx", "XR", "FOOT"),
        ("X-thorax", "XR", "CHEST"),
        ("Echo schildklier", "US", "THYROID"),
        ("Röntgen Becken a.p.", "XR", "PELVIS_BONE"),
    ],
)
def test_a_description_gives_modality_and_regions(description, modality, regions_read) -> None:
    exam = an_exam(description)

    assert exam.modality == modality
    assert set(exam.regions) == set(regions_read.split())


@pytest.mark.parametrize(
    ("description", "side"),
    [
        ("XR KNEE LT 3V", "L"),
        ("KNEE-RT", "R"),
        ("Rö Knie re. 2 Ebenen", "R"),
        ("MRT Schulter li", "L"),
        ("RX GENOU G", "L"),
        ("RM JOELHO D", "R"),
        ("RX GINOCCHIO SX", "L"),
        ("Dx Foot Lt", "L"),
        ("RX piede dx", "R"),
        ("X-knie links", "L"),
        ("MAM SCREEN BI", "B"),
        ("BI MAMMO DIAGNOSTIC LEFT", "L"),
        ("XR KNEE RT AND LT", "B"),
        ("XR HANDS", "B"),
        ("XR L SPINE", ""),
        ("US RUQ", ""),
        ("MRI LEFT-SIDED WEAKNESS BRAIN", ""),
        ("XR SPINE ENTIRE T-L", ""),
        ("TAC RODILLA SIN CONTRASTE", ""),
    ],
)
def test_a_side_counts_only_where_left_and_right_are_two_exams(description, side) -> None:
    assert an_exam(description).side == side


def test_modalities_in_study_come_before_the_words() -> None:
    exam = an_exam("CHEST ROUTINE", "SR", "CT")

    assert (exam.modality, exam.modality_field) == ("CT", "ModalitiesInStudy")
    assert an_exam("CT AP W/WO", "CT").regions == ("ABDOMEN", "PELVIS")
    assert an_exam("PELVIS AP", "DX").regions == ("PELVIS_BONE",)
    assert an_exam("WHOLE BODY", "CT", "PT").modality == "PT"


def test_each_field_is_named_that_gave_the_region() -> None:
    pointer = SeriesPointer(study_instance_uid="1.2.3", series_instance_uid="1.2.3.1")
    by_part = SeriesRecord(pointer=pointer, body_part_examined="LSPINE")
    by_series = SeriesRecord(pointer=pointer, series_description="SAG T2 LUMBAR", laterality="L")

    assert an_exam("CT CHEST").region_field == "StudyDescription"
    assert an_exam("X", "MR", series=(by_part,)).region_field == "BodyPartExamined"
    assert an_exam("", "MR", series=(by_series,)).region_field == "SeriesDescription"
    assert an_exam("", "MG").regions == ("BREAST",)
    assert an_exam("").region_field == "unknown"


@pytest.mark.parametrize(
    ("description", "contrast"),
    [("CT HEAD W/O CNTRST", "without"), ("CT CHEST W/ CON", "with"), ("CT CHEST", "")],
)
def test_contrast_is_read_from_words(description: str, contrast: str) -> None:
    assert read(description).contrast == contrast


def test_every_region_of_the_lexicon_has_a_place_in_the_tables() -> None:
    named = {
        name
        for meanings in (*lexicon().exact.values(), *lexicon().stems.values())
        for kind, name in meanings
        if kind == "region"
    }

    assert named - {"AP", "THORACIC", "WB"} <= regions()


@pytest.mark.parametrize(
    ("current", "prior", "least", "most"),
    [
        ("LIVER", "ABDOMEN", 0.9, 1),
        ("ABDOMEN", "LIVER", 0.8, 0.95),
        ("TOE", "LEG", 0.3, 0.6),
        ("LEG", "TOE", 0.3, 0.6),
        ("KNEE", "ANKLE", 0.05, 0.2),
        ("KNEE", "BRAIN", 0, 0),
        ("BRAIN", "BRAIN", 1, 1),
    ],
)
def test_a_whole_and_its_parts_are_worth_something_to_each_other(
    current, prior, least, most
) -> None:
    assert least <= worth(current, prior, current_modality="CT", prior_modality="CT") <= most


@pytest.mark.parametrize(
    ("description", "codes", "modality", "regions_read"),
    [
        ("VENOUS DUPLEX", (), "US", ("LEG_VESSEL",)),
        ("ECHO", (), "US", ("HEART",)),
        ("XR ORBITS PRE-MRI", (), "XR", ("ORBIT",)),
        ("MR ORBITS AND CT ORBITS", (), "MR", ("ORBIT",)),
        ("Nierensonographie", (), "US", ("KIDNEY",)),
        ("MRBrain", (), "MR", ("BRAIN",)),
        ("ThoraxCT", (), "CT", ("CHEST",)),
        ("CT FOOT WB", (), "CT", ("FOOT",)),
        ("PET BREAST CA", (), "PT", ("WHOLEBODY",)),
        ("EKG", (), "OT", ("HEART",)),
        ("XR CALCANEUS", (), "XR", ("FOOT",)),
        ("XR NASAL BONES", (), "XR", ("FACE",)),
        ("XR THORACIC 3V SWIMMERS", (), "XR", ("TSPINE",)),
        ("CT THORACIC AORTA", (), "CT", ("AORTA_TH", "CHEST")),
        ("MR LOW EXT JNT KNEE", (), "MR", ("KNEE",)),
        ("12345", ("ES",), "OT", ()),
        ("BARIUM SWALLOW VIEWS", (), "RF", ("ESOPHAGUS",)),
    ],
)
def test_modality_words_and_compounds(description, codes, modality, regions_read) -> None:
    exam = an_exam(description, *codes)

    assert (exam.modality, exam.regions) == (modality, regions_read)


def test_a_body_part_inside_the_described_region_contradicts_nothing() -> None:
    pointer = SeriesPointer(study_instance_uid="1.2.3", series_instance_uid="1.2.3.1")
    within = SeriesRecord(pointer=pointer, body_part_examined="ABDOMEN", laterality="R")
    besides = SeriesRecord(pointer=pointer, body_part_examined="KNEE", laterality="L")

    assert an_exam("US LIVER", series=(within,)).other_regions == ()
    assert an_exam("US LIVER", series=(besides,)).other_regions == ("KNEE",)
    assert an_exam("US KNEE", series=(within, besides)).side == "B"


@pytest.mark.parametrize(
    ("description", "modality", "regions_read"),
    [
        ("CT CHSET W CON", "CT", "CHEST"),
        ("MRI BRIAN WO", "MR", "BRAIN"),
        ("VAS LE ART", "US", "LEG_VESSEL"),
        ("VAS ABI W PVR", "US", "LEG_VESSEL"),
        ("US TRANSCRANIAL DOPPLER", "US", "BRAIN"),
        ("CTA CHEST AORTA", "CT", "CHEST AORTA_TH"),
        ("XR CHEST PICC", "XR", "CHEST ARM_VESSEL"),
        ("IR PICC", "XA", "ARM_VESSEL"),
        ("TC TORACO-ABDOMINO-PELVICO", "CT", "CHEST ABDOMEN PELVIS"),
        ("TAC TORACOABDOMINOPELVICO", "CT", "CHEST ABDOMEN PELVIS"),
        ("TDM THORACO-ABDOMINO-PELVIENNE", "CT", "CHEST ABDOMEN PELVIS"),
        ("ANGIOTC TEP", "CT", "CHEST"),
        ("TEP-TDM AU FDG", "PT", "WHOLEBODY"),
        ("ECO DOPPLER VENOSO MII", "US", "LEG_VESSEL"),
        ("MR RENAL PROTOCOL", "MR", "KIDNEY ABDOMEN"),
        ("FL BE", "RF", "BOWEL"),
    ],
)
def test_slips_and_local_words_are_read(description, modality, regions_read) -> None:
    exam = an_exam(description)

    assert exam.modality == modality
    assert set(exam.regions) == set(regions_read.split())


@pytest.mark.parametrize(
    ("description", "side"), [("RX HOMBRO IZQDO", "L"), ("RX HOMBRO DCHO AP", "R")]
)
def test_a_side_is_read_in_its_local_short_form(description: str, side: str) -> None:
    assert an_exam(description).side == side
