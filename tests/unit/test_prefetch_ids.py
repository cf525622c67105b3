"""prefetch: names of executions are stable, differ where the study differs, and tell nothing."""

from teleprefetch.model import SeriesPointer
from teleprefetch.prefetch import prefetch_id_of


def series(version: int, uid: str = "1.2.3.1") -> SeriesPointer:
    return SeriesPointer(
        study_instance_uid="1.2.3",
        series_instance_uid=uid,
        image_set_id=uid.replace(".", "x").ljust(32, "0"),
        version_id=version,
    )


def name(*held: SeriesPointer, study_instance_uid: str = "1.2.3") -> str:
    return prefetch_id_of(origin_id="store", study_instance_uid=study_instance_uid, series=held)


def test_the_order_of_the_series_does_not_matter() -> None:
    one, two = series(1), series(1, "1.2.3.2")

    assert name(one, two) == name(two, one)


def test_a_new_version_or_a_new_series_is_a_new_prefetch() -> None:
    names = {name(series(1)), name(series(2)), name(series(1), series(1, "1.2.3.2"))}

    assert len(names) == 3


def test_the_name_fits_an_execution_and_holds_no_uid() -> None:
    assert "1.2.3" not in name(series(1))
    assert len(name(series(1))) <= 80
    assert name(series(1)) != name(series(1), study_instance_uid="1.2.4")
