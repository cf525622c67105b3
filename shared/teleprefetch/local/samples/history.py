"""The made-up patient's history: which studies there are, and which a radiologist opens first."""

from typing import Final

from teleprefetch.local.samples.plans import (
    ABDOMEN,
    BRAIN,
    CORONAL_LUNGS,
    LOW_DOSE_LUNGS,
    Exam,
    Person,
    chest_ct,
    knee,
    one_real,
    two_views,
)
from teleprefetch.local.samples.real import ECHOCARDIOGRAM, LIVER_MR, VERTEBRA_CT

PATIENT: Final = Person(patient_id="SAMPLE-0001", birth_date="19610412", sex="F")
STRANGER: Final = Person(patient_id="SAMPLE-0002", birth_date="19740930", sex="F")

CURRENT: Final = Exam(
    slug="current-ct-chest",
    days_ago=0,
    time="091500",
    modality="CT",
    description="CT CHEST W CONTRAST",
    body_part="CHEST",
    series=(chest_ct(60, enhanced=True, nodule_mm=13), CORONAL_LUNGS),
    note="the study to be read: a nodule of 13 mm in the right upper lobe",
    protocol="CHEST ROUTINE W",
)

PRIORS: Final = (
    Exam(
        slug="ct-chest-8-months",
        days_ago=243,
        time="143000",
        modality="CT",
        description="CT CHEST W/ CON",
        body_part="CHEST",
        series=(chest_ct(50, enhanced=True, nodule_mm=9, shift_mm=4),),
        note="same exam, newest: the nodule was 9 mm",
        protocol="CHEST ROUTINE W",
    ),
    Exam(
        slug="dx-chest-2-months",
        days_ago=61,
        time="081200",
        modality="DX",
        description="XR CHEST 2 VIEWS",
        body_part="CHEST",
        series=(two_views("PA", "LL"),),
        note="same region, newest of all, another modality",
        protocol="CHEST PA LAT",
    ),
    Exam(
        slug="ct-chest-3-years",
        days_ago=1096,
        time="101000",
        modality="CT",
        description="CT THORAX WO",
        body_part="THORAX",
        series=(LOW_DOSE_LUNGS,),
        note="same region and modality, the baseline: the nodule was 6 mm",
        protocol="LUNG LOW DOSE",
    ),
    Exam(
        slug="cr-chest-4-years",
        days_ago=1490,
        time="161500",
        modality="CR",
        description="CHEST PA/LAT",
        body_part="CHEST",
        series=(two_views("PA", "LL"),),
        note="same region, an old radiograph",
        protocol="CHEST",
    ),
    Exam(
        slug="echo-5-months",
        days_ago=152,
        time="110500",
        modality="US",
        description="ECHO TRANSTHORACIC COMPLETE",
        body_part="HEART",
        series=(one_real("APICAL VIEW", ECHOCARDIOGRAM),),
        note="the heart, next to the lungs; real pixels, JPEG baseline",
        protocol="ECHO",
    ),
    Exam(
        slug="ct-abdomen-14-months",
        days_ago=426,
        time="133000",
        modality="CT",
        description="CT ABD/PEL W",
        body_part="ABDOMEN",
        series=(ABDOMEN,),
        note="the neighbouring region; its top slices show the lung bases",
        protocol="ABDOMEN PV",
    ),
    Exam(
        slug="outside-films-5-years",
        days_ago=1830,
        time="120000",
        modality="CT",
        description="OUTSIDE FILMS",
        body_part="",
        series=(one_real("", VERTEBRA_CT),),
        note="nothing says what it shows: unknown, never nothing; real pixels",
    ),
    Exam(
        slug="mr-liver-2-years",
        days_ago=760,
        time="151000",
        modality="MR",
        description="MR ABDOMEN^LIVER",
        body_part="ABDOMEN",
        series=(one_real("MPR", LIVER_MR),),
        note="the neighbouring region in another modality; real pixels",
        protocol="LIVER DYNAMIC",
    ),
    Exam(
        slug="mr-brain-1-year",
        days_ago=398,
        time="172000",
        modality="MR",
        description="MRI BRAIN WO",
        body_part="BRAIN",
        series=(BRAIN,),
        note="another region",
        protocol="BRAIN ROUTINE",
    ),
    Exam(
        slug="dx-knee-left-9-months",
        days_ago=275,
        time="090500",
        modality="DX",
        description="XR KNEE LT 2V",
        body_part="KNEE",
        series=(knee(1),),
        note="another region",
        protocol="KNEE AP LAT",
        laterality="L",
    ),
    Exam(
        slug="cr-knee-right-6-years",
        days_ago=2200,
        time="102000",
        modality="CR",
        description="KNEE RIGHT AP/LAT",
        body_part="KNEE",
        series=(knee(-1),),
        note="another region, and old",
        protocol="KNEE",
        laterality="R",
    ),
)

OF_THE_STRANGER: Final = Exam(
    slug="stranger-ct-chest",
    days_ago=95,
    time="154500",
    modality="CT",
    description="CT CHEST W CONTRAST",
    body_part="CHEST",
    series=(chest_ct(16, enhanced=True, nodule_mm=0),),
    note="another patient of the same name: never to be warmed for this one",
    protocol="CHEST ROUTINE W",
)

# For a follow-up of a nodule: the newest of the same exam; the baseline and the newest
# radiograph; older ones; what is beside it or unknown; what nobody opens. Any order within a tier.
# The MR of the liver is in none: beside the chest, yet hardly ever opened for it.
EXPECTED_ORDER: Final[tuple[tuple[str, ...], ...]] = (
    ("ct-chest-8-months",),
    ("dx-chest-2-months", "ct-chest-3-years"),
    ("cr-chest-4-years",),
    ("echo-5-months", "ct-abdomen-14-months", "outside-films-5-years"),
    ("mr-brain-1-year", "dx-knee-left-9-months", "cr-knee-right-6-years"),
)
