"""Whose study it is: a PatientID means nothing without its issuer (PS3.3 C.7.1.1)."""

from typing import Literal

from teleprefetch.domain.lexicon import words_of
from teleprefetch.model import StudyRecord

Belonging = Literal["same", "doubtful", "other"]


def belonging(current: StudyRecord, prior: StudyRecord) -> tuple[Belonging, str]:
    """Whether a prior is of the current study's patient, and what speaks against it.

    Another PatientID or another issuer is another patient. With the same PatientID, and no
    issuer to settle it on both sides, a name, sex or birth date that contradicts makes it
    doubtful; a missing field contradicts nothing.
    """
    if not prior.patient.patient_id.strip():
        return "doubtful", "PatientID is empty"
    if current.patient.patient_id.strip() != prior.patient.patient_id.strip():
        return "other", "PatientID differs"
    one, other = (
        study.patient.issuer_of_patient_id.strip().casefold() for study in (current, prior)
    )
    if one and other:
        return ("same", "") if one == other else ("other", "IssuerOfPatientID differs")
    contradiction = _contradiction(current, prior)
    return ("doubtful", f"{contradiction} differs") if contradiction else ("same", "")


def _contradiction(current: StudyRecord, prior: StudyRecord) -> str:
    if _differ(current.patient_birth_date.strip(), prior.patient_birth_date.strip()):
        return "PatientBirthDate"
    sexes = (current.patient_sex.strip().upper(), prior.patient_sex.strip().upper())
    if _differ(*sexes) and "O" not in sexes:
        return "PatientSex"
    names = frozenset(words_of(current.patient_name)), frozenset(words_of(prior.patient_name))
    if names[0] and names[1] and not names[0] & names[1]:
        return "PatientName"
    return ""


def _differ(one: str, other: str) -> bool:
    return bool(one) and bool(other) and one != other
