"""Work that goes on beside the pages: once, to its end, and told where it breaks."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from teleprefetch.console.jobs import Job, Jobs
from teleprefetch.errors import NodeUnavailableError, OriginUnavailableError
from tests.waiting import until

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """None of its threads outlives the test: what one breaks with is told of that test alone."""
    jobs = Jobs(lambda: NOW)
    yield jobs
    jobs.close()


def begun(jobs: Jobs, job_id: str, work: object, kind: str = "replay") -> Job:
    return jobs.begin(job_id, kind, by="nina", about=None, work=work)  # type: ignore[arg-type]


def has_ended(jobs: Jobs, job_id: str) -> bool:
    job = jobs.of(job_id, "replay")
    return job is not None and job.ended_at is not None


def test_a_job_of_an_id_is_done_once(jobs: Jobs) -> None:
    count = []
    first = begun(jobs, "a", lambda job: count.append(job.id))
    assert begun(jobs, "a", lambda job: count.append(job.id)) is first
    until(lambda: first.ended_at, "the end")
    assert count == ["a"]
    assert jobs.of("a", "replay") == first
    assert jobs.of("a", "preview") is None
    assert jobs.of("b", "replay") is None


def test_an_error_of_ours_is_told_in_its_words(jobs: Jobs) -> None:
    def work(job: Job) -> None:
        job.done.append("one")
        raise NodeUnavailableError("node-a: not in NODE_URLS")

    job = begun(jobs, "a", work)
    until(lambda: job.ended_at, "the end")
    assert job.error == "NodeUnavailableError: node-a: not in NODE_URLS"
    assert job.done == ["one"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_breaks_ends_its_job_and_says_so(jobs: Jobs) -> None:
    def work(job: Job) -> None:
        raise ZeroDivisionError("content")

    job = begun(jobs, "a", work)
    jobs.close()
    assert job.ended_at == NOW
    assert "broke" in job.error
    assert "content" not in job.error


def test_the_end_of_the_console_ends_work_between_two_steps(jobs: Jobs) -> None:
    stepped, may_go_on = threading.Event(), threading.Event()

    def work(job: Job) -> None:
        for number in range(3):
            job.done.append(number)
            stepped.set()
            may_go_on.wait()  # however long the machine takes: the test itself has a deadline
            job.check()

    job = begun(jobs, "a", work)
    closing = threading.Thread(target=jobs.close)
    try:
        until(stepped.is_set, "the first step")
        closing.start()
        until(lambda: job.is_stopped, "the word to stop")
    finally:
        may_go_on.set()
    closing.join()
    assert job.done == [0]
    assert job.error.startswith("OriginUnavailableError: console: it ended")


def test_what_a_page_is_made_of_does_not_change_when_the_job_goes_on(jobs: Jobs) -> None:
    may_end = threading.Event()

    def work(job: Job) -> None:
        job.done.append(1)
        may_end.wait()
        job.done.append(2)
        job.result = "all"

    job = begun(jobs, "a", work)
    try:
        until(lambda: job.done, "the first step")
        seen = jobs.of("a", "replay")
    finally:
        may_end.set()
    until(lambda: job.ended_at, "the end")

    assert seen is not None
    assert (seen.done, seen.result, seen.ended_at) == ([1], None, None)
    assert jobs.of("a", "replay") == job
    assert (job.done, job.result) == ([1, 2], "all")


def test_a_job_that_ends_while_it_is_looked_at_has_not_ended_there() -> None:
    class EndsMeanwhile(Job):
        """Ends, by the work's own order, as soon as anything but its end is read."""

        def __getattribute__(self, name: str) -> object:
            if name in {"done", "result", "error"} and super().__getattribute__("result") is None:
                self.result, self.ended_at = "all", NOW
            return super().__getattribute__(name)

    job = EndsMeanwhile(id="a", kind="rules", by="nina", begun_at=NOW, about=None)

    assert job.as_now().ended_at is None
    again = job.as_now()
    assert (again.result, again.ended_at) == ("all", NOW)


def test_the_last_fifty_are_kept_and_more_than_fifty_at_once_are_refused(jobs: Jobs) -> None:
    for number in range(60):
        begun(jobs, f"short-{number}", lambda job: None)
        until(lambda: has_ended(jobs, f"short-{number}"), "the end")  # noqa: B023  # at once
    assert jobs.of("short-9", "replay") is None
    assert jobs.of("short-10", "replay") is not None

    going_on = threading.Event()
    for number in range(50):
        begun(jobs, f"long-{number}", lambda job: going_on.wait() and None)
    with pytest.raises(OriginUnavailableError, match="50 jobs"):
        begun(jobs, "one too many", lambda job: None)
    going_on.set()
