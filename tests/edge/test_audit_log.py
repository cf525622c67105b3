"""The audit of a process: durable before anybody goes on, and truthful after every accident."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from teleprefetch.domain.audit.entry import Entry, read_line
from teleprefetch.edge.audit import lane as lane_module
from teleprefetch.edge.audit import log as log_module
from teleprefetch.edge.audit.lane import RESERVE_BYTES, Lane
from teleprefetch.edge.audit.log import AuditLog, OnFull
from teleprefetch.edge.audit.reading import entries, lines_of, verify
from teleprefetch.errors import InvalidPayloadError, NodeUnavailableError
from tests.audit_builders import LANE, NODE, START, a_record
from tests.waiting import until


@contextmanager
def open_log(
    folder: Path,
    *,
    name: str = LANE,
    on_full: OnFull = "deny",
    segment_bytes: int = 1 << 20,
    **more,
) -> Iterator[AuditLog]:
    log = AuditLog(
        Lane(folder, node=NODE, name=name, segment_bytes=segment_bytes), on_full=on_full, **more
    )
    try:
        yield log
    finally:
        log.close()


def all_of(folder: Path) -> list[Entry]:
    return list(entries(folder))


def kinds_of(folder: Path) -> list[str]:
    return [entry.event.kind for entry in all_of(folder)]


def is_sound(folder: Path) -> bool:
    return verify(folder, checkpoints={}, is_signed=None).is_sound


class Disk:
    """Stands between the log and the disk: counts syncs, holds them up, and fails on demand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced_bytes: list[int] = []
        self.write_error = self.sync_error = 0
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.is_syncing = threading.Event()
        real_sync, real_write = os.fdatasync, os.pwrite

        def fdatasync(descriptor: int) -> None:
            self.is_syncing.set()
            assert self.may_sync.wait(20)
            if self.sync_error:
                raise OSError(self.sync_error, "injected")
            real_sync(descriptor)
            self.synced_bytes.append(os.fstat(descriptor).st_size)

        def write(descriptor: int, content: bytes, offset: int) -> int:
            if self.write_error:
                real_write(descriptor, bytes(content)[:7], offset)
                raise OSError(self.write_error, "injected")
            return real_write(descriptor, content, offset)

        monkeypatch.setattr(lane_module.os, "fdatasync", fdatasync)
        monkeypatch.setattr(lane_module.os, "pwrite", write)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_committed_record_is_synced_before_commit_returns(tmp_path: Path, disk: Disk) -> None:
    with open_log(tmp_path) as log:
        log.commit(a_record())
        (segment,) = (tmp_path / LANE).glob("*.jsonl")
        assert disk.synced_bytes[-1] == segment.stat().st_size
        content = segment.read_bytes().rstrip(b"\0")
        assert read_line(content.splitlines()[-1]).event == a_record()


def test_what_is_written_into_room_made_ahead_changes_no_length(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.commit(a_record())
        (segment,) = (tmp_path / LANE).glob("*.jsonl")
        length = segment.stat().st_size
        for _ in range(20):
            log.commit(a_record())
        assert segment.stat().st_size == length
        assert is_sound(tmp_path)  # zeros at the end are no fault
    assert segment.stat().st_size < length
    assert b"\0" not in segment.read_bytes()


def test_room_that_a_killed_process_left_is_taken_up_again(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.commit(a_record())
        (segment,) = (tmp_path / LANE).glob("*.jsonl")
        left = segment.read_bytes()
    segment.write_bytes(left)
    with open_log(tmp_path) as log:
        log.commit(a_record())
    assert is_sound(tmp_path)
    assert "recovered" not in kinds_of(tmp_path)


def test_a_torn_end_before_room_is_cut_and_told(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.commit(a_record())
        (segment,) = (tmp_path / LANE).glob("*.jsonl")
        left = segment.read_bytes()
    whole = left.rstrip(b"\0")
    segment.write_bytes(whole + b'{"hash":"torn' + bytes(5000))
    assert not is_sound(tmp_path)
    with open_log(tmp_path) as log:
        log.commit(a_record())
    assert is_sound(tmp_path)
    assert kinds_of(tmp_path)[-4:-2] == ["recovered", "started"]


def test_records_are_written_now_in_the_callers_thread_while_the_disk_is_quick(
    tmp_path: Path, disk: Disk
) -> None:
    with open_log(tmp_path) as log:
        log.commit(a_record())
        assert log.write_now([("served", a_record(request="now").canonical())])
        assert kinds_of(tmp_path)[-1] == "served"
        disk.may_sync.clear()
        waiting = threading.Thread(target=log.commit, args=(a_record(),))
        disk.is_syncing.clear()
        waiting.start()
        assert disk.is_syncing.wait(10)
        assert not log.write_now([("served", a_record().canonical())])  # another holds the lane
        disk.may_sync.set()
        waiting.join()
        disk.sync_error = errno.EIO
        with pytest.raises(NodeUnavailableError):
            log.write_now([("served", a_record().canonical())])
        assert log.is_failing
        assert not log.write_now([("served", a_record().canonical())])
        disk.sync_error = 0
        log.try_again()
        log.commit(a_record())
        assert not log.is_failing
    assert is_sound(tmp_path)
    assert "gap" in kinds_of(tmp_path)


def test_after_a_slow_sync_records_go_to_the_logs_own_thread(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_log(tmp_path) as log:
        log.commit(a_record())
        disk.may_sync.clear()
        timer = threading.Timer(0.05, disk.may_sync.set)
        timer.start()
        assert log.write_now([("served", a_record().canonical())])
        assert not log.write_now([("served", a_record().canonical())])
        timer.join()


def test_commit_waits_as_long_as_the_disk_does(tmp_path: Path, disk: Disk) -> None:
    with open_log(tmp_path) as log:
        log.commit(a_record())
        disk.may_sync.clear()
        returned = threading.Event()
        thread = threading.Thread(target=lambda: (log.commit(a_record()), returned.set()))
        disk.is_syncing.clear()
        thread.start()
        assert disk.is_syncing.wait(10)
        assert not returned.is_set()
        disk.may_sync.set()
        thread.join(10)
        assert returned.is_set()


def test_all_who_wait_while_a_group_syncs_share_the_next_sync(tmp_path: Path, disk: Disk) -> None:
    with open_log(tmp_path) as log:
        log.commit(a_record())
        disk.may_sync.clear()
        disk.is_syncing.clear()
        threads = [threading.Thread(target=log.commit, args=(a_record(),)) for _ in range(40)]
        threads[0].start()
        assert disk.is_syncing.wait(10)
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(log._waiting) == 39, "39 commits wait")
        before = len(disk.synced_bytes)
        disk.may_sync.set()
        for thread in threads:
            thread.join(10)
        assert len(disk.synced_bytes) - before == 2
    assert is_sound(tmp_path)


def test_many_threads_leave_one_unbroken_chain_with_a_record_each(tmp_path: Path) -> None:
    def work(number: int) -> None:
        for n in range(50):
            log.commit(a_record(request=f"{number}-{n}"))

    with open_log(tmp_path, segment_bytes=20_000) as log:
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert is_sound(tmp_path)
    served = [e.event.request for e in all_of(tmp_path) if e.event.kind == "served"]
    assert sorted(served) == sorted(f"{t}-{n}" for t in range(8) for n in range(50))
    assert len(list((tmp_path / LANE).glob("*.jsonl"))) > 5


def test_a_loop_is_woken_once_for_each_group_after_all_its_records(
    tmp_path: Path, disk: Disk
) -> None:
    durable: list[int] = []
    seen_at_wake: list[int] = []
    with open_log(tmp_path, after_group=lambda: seen_at_wake.append(len(durable))) as log:
        log.commit(a_record())
        until(lambda: len(seen_at_wake) >= 1, "the first group is told")
        disk.may_sync.clear()
        disk.is_syncing.clear()
        log.submit(a_record(), lambda _error: durable.append(0))
        assert disk.is_syncing.wait(10)
        wakes = len(seen_at_wake)
        for n in range(1, 10):
            log.submit(a_record(), lambda _error, n=n: durable.append(n))
        disk.may_sync.set()
        until(lambda: len(seen_at_wake) == wakes + 2, "two more groups are told")
        assert seen_at_wake[wakes:] == [1, 10]


def test_coroutines_await_their_records(tmp_path: Path) -> None:
    async def work() -> None:
        await asyncio.gather(*(log.commit_soon(a_record(request=str(n))) for n in range(30)))

    with open_log(tmp_path) as log:
        asyncio.run(work())
        served = [e for e in all_of(tmp_path) if e.event.kind == "served"]
        assert len(served) == 30


def test_a_record_that_cannot_be_written_as_json_harms_nobody_elses(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        with pytest.raises(InvalidPayloadError):
            log.commit(a_record(reason="\udfff"))
        log.commit(a_record())
    assert is_sound(tmp_path)


def test_a_lane_goes_on_where_it_ended(tmp_path: Path) -> None:
    for _ in range(3):
        with open_log(tmp_path) as log:
            log.commit(a_record())
    assert kinds_of(tmp_path) == ["started", "served", "stopped"] * 3
    assert [entry.seq for entry in all_of(tmp_path)] == list(range(1, 10))
    assert is_sound(tmp_path)


def test_one_lane_has_one_writer_and_another_process_takes_another_lane(tmp_path: Path) -> None:
    with open_log(tmp_path):
        with pytest.raises(NodeUnavailableError, match="another process"):
            Lane(tmp_path, node=NODE, name=LANE)
        with open_log(tmp_path, name="worker") as other:
            other.commit(a_record(kind="warmed"))
    with open_log(tmp_path):
        pass
    assert is_sound(tmp_path)


def test_after_closing_a_commit_is_refused(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        pass
    with pytest.raises(NodeUnavailableError, match="closed"):
        log.commit(a_record())


def test_more_waiting_records_than_allowed_are_refused(tmp_path: Path, disk: Disk) -> None:
    with open_log(tmp_path, most_waiting=5) as log:
        log.commit(a_record())
        disk.may_sync.clear()
        disk.is_syncing.clear()
        log.submit(a_record(), lambda _error: None)
        assert disk.is_syncing.wait(10)
        for _ in range(5):
            log.submit(a_record(), lambda _error: None)
        with pytest.raises(NodeUnavailableError, match="too many"):
            log.submit(a_record(), lambda _error: None)
        disk.may_sync.set()


def segment_of(folder: Path) -> Path:
    return max((folder / LANE).glob("*.jsonl"))


def committed(folder: Path, count: int = 3) -> list[bytes]:
    with open_log(folder) as log:
        for n in range(count):
            log.commit(a_record(request=f"r-{n}"))
    return segment_of(folder).read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_torn_last_line_is_cut_off_and_the_log_says_so(tmp_path: Path, cut: int) -> None:
    lines = committed(tmp_path)
    torn = lines[-1][:-cut]
    segment_of(tmp_path).write_bytes(b"".join(lines[:-1]) + torn)
    assert not is_sound(tmp_path)
    with open_log(tmp_path) as log:
        log.commit(a_record())
    assert is_sound(tmp_path)
    assert kinds_of(tmp_path) == [
        "started",
        *["served"] * 3,
        "recovered",
        "started",
        "served",
        "stopped",
    ]
    recovered = all_of(tmp_path)[4].event
    assert recovered.reason == "a torn end"
    assert recovered.detail["bytes"] == len(torn)


def test_a_torn_line_right_after_a_rotation_is_cut_off_as_well(tmp_path: Path) -> None:
    committed(tmp_path)
    last = all_of(tmp_path)[-1]
    (tmp_path / LANE / f"{last.seq + 1:016d}.jsonl").write_bytes(b'{"hash":"12')
    with open_log(tmp_path) as log:
        log.commit(a_record())
    assert is_sound(tmp_path)
    assert "recovered" in kinds_of(tmp_path)


def test_a_damaged_line_in_the_midst_is_left_as_evidence(tmp_path: Path) -> None:
    lines = committed(tmp_path)
    damaged = lines[2].replace(b"r-1", b"r-9")
    path = segment_of(tmp_path)
    path.write_bytes(b"".join([*lines[:2], damaged, *lines[3:]]))
    before = path.read_bytes()
    with open_log(tmp_path) as log:
        log.commit(a_record())
    assert path.read_bytes() == before
    verdict = verify(tmp_path, checkpoints={}, is_signed=None)
    assert [(f.fault, f.seq) for f in verdict.findings] == [("edited", 3)]
    recovered = next(e.event for e in all_of(tmp_path) if e.event.kind == "recovered")
    assert recovered.detail == {"segment": path.name, "line": 3}


CRASHING = """
import sys
from pathlib import Path
from teleprefetch.edge.audit.lane import Lane
from teleprefetch.edge.audit.log import AuditLog
from tests.audit_builders import LANE, NODE, a_record
log = AuditLog(Lane(Path(sys.argv[1]), node=NODE, name=LANE, segment_bytes=30_000))
n = 0
while True:
    log.commit(a_record(request=f"r-{n}"))
    sys.stdout.write(f"{n}\\n"); sys.stdout.flush()
    n += 1
"""


def test_whatever_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    program = tmp_path / "crashing.py"
    program.write_text(textwrap.dedent(CRASHING))
    folder = tmp_path / "audit"
    acknowledged: list[str] = []
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, str(program), str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{Path.cwd()}:{Path.cwd() / 'shared'}"},
        )
        assert process.stdout is not None
        acknowledged += [process.stdout.readline().strip() for _ in range(60)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [line for line in process.stdout.read().splitlines() if line]
        process.stdout.close()
        process.wait()
    with open_log(folder):
        pass
    assert is_sound(folder)
    written = [e.event.request for e in all_of(folder) if e.event.kind == "served"]
    assert len(acknowledged) >= 180
    for number in set(acknowledged):
        assert written.count(f"r-{number}") >= acknowledged.count(number)


def test_the_clock_may_go_back_without_breaking_the_chain(tmp_path: Path) -> None:
    steps = iter([0, 1, -3600, -3599, -3598, -3597])
    with open_log(tmp_path, clock=lambda: START + timedelta(seconds=next(steps, 0))) as log:
        log.commit(a_record())
        log.commit(a_record())
    verdict = verify(tmp_path, checkpoints={}, is_signed=None)
    assert verdict.is_sound
    assert verdict.lanes[0].clock_went_back


@pytest.mark.parametrize("error", ["write_error", "sync_error"])
def test_denied_means_that_nobody_goes_on_without_a_record(
    tmp_path: Path, disk: Disk, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    with open_log(tmp_path, on_full="deny") as log:
        log.commit(a_record())
        setattr(disk, error, errno.EIO)
        for _ in range(3):
            with pytest.raises(NodeUnavailableError, match="cannot be written"):
                log.commit(a_record(request="denied"))
        assert log.is_failing
        setattr(disk, error, 0)
        log.commit(a_record(request="after"))
        assert not log.is_failing
    assert is_sound(tmp_path)
    events = [entry.event for entry in all_of(tmp_path)]
    assert [e.kind for e in events] == ["started", "served", "gap", "served", "stopped"]
    assert (events[2].detail["denied"], events[2].detail["unrecorded"]) == (3, 0)
    assert "denied" not in {event.request for event in events}
    assert [r.levelname for r in caplog.records] == ["CRITICAL", "CRITICAL"]


def test_an_emergency_lets_requests_go_on_and_records_them_late(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    with open_log(tmp_path, on_full="emergency-allow") as log:
        log.commit(a_record())
        disk.write_error = errno.ENOSPC
        for n in range(3):
            log.commit(a_record(request=f"late-{n}"))
        assert log.is_failing
        disk.write_error = 0
        log.commit(a_record(request="after"))
    assert is_sound(tmp_path)
    events = [entry.event for entry in all_of(tmp_path)]
    gap = next(event for event in events if event.kind == "gap")
    assert (gap.detail["late"], gap.detail["denied"]) == (3, 0)
    at = events.index(gap)
    requests = [event.request for event in events[at + 1 : at + 5]]
    assert requests == ["late-0", "late-1", "late-2", "after"]
    assert "emergency-allow" in caplog.records[-2].getMessage()


def test_beyond_what_is_kept_the_gap_says_how_many_are_lost(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("teleprefetch.edge.audit.debt._MOST_KEPT", 2)
    with open_log(tmp_path, on_full="emergency-allow") as log:
        log.commit(a_record())
        disk.sync_error = errno.EIO
        for _ in range(5):
            log.commit(a_record())
        disk.sync_error = 0
        log.commit(a_record())
    gap = next(entry.event for entry in all_of(tmp_path) if entry.event.kind == "gap")
    assert (gap.detail["late"], gap.detail["unrecorded"]) == (2, 3)


def test_a_purge_that_could_not_be_recorded_is_recorded_late_even_if_requests_are_denied(
    tmp_path: Path, disk: Disk
) -> None:
    with open_log(tmp_path, on_full="deny") as log:
        log.commit(a_record())
        disk.write_error = errno.EIO
        with pytest.raises(NodeUnavailableError):
            log.commit(a_record(kind="purged", request="purge"))
        disk.write_error = 0
        log.commit(a_record(request="after"))
    assert [e.event.request for e in all_of(tmp_path) if e.event.kind == "purged"] == ["purge"]


def test_after_a_failed_sync_records_go_to_another_segment(tmp_path: Path, disk: Disk) -> None:
    with open_log(tmp_path) as log:
        log.commit(a_record())
        disk.sync_error = errno.EIO
        with pytest.raises(NodeUnavailableError):
            log.commit(a_record())
        disk.sync_error = 0
        log.commit(a_record())
        assert len(list((tmp_path / LANE).glob("*.jsonl"))) == 2
    assert is_sound(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=1k", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("on_full", ["deny", "emergency-allow"])
def test_a_full_disk_is_told_in_the_log_itself_and_nothing_is_lost_silently(
    small_disk: Path, on_full: OnFull
) -> None:
    ballast = small_disk / "ballast"
    acknowledged, denied = 0, 0
    with open_log(small_disk / "audit", on_full=on_full) as log:
        log.commit(a_record())
        with ballast.open("wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"\0" * 4096)
                except OSError:
                    break
        for n in range(200):
            try:
                log.commit(a_record(request=f"r-{n}"))
                acknowledged += 1
            except NodeUnavailableError:
                denied += 1
        assert log.is_failing
        assert (denied > 0) == (on_full == "deny")
        ballast.unlink(missing_ok=True)
        log.commit(a_record(request="after"))
        assert not log.is_failing
        assert (small_disk / "audit" / LANE / "reserve").stat().st_size == RESERVE_BYTES
    assert is_sound(small_disk / "audit")
    events = [entry.event for entry in all_of(small_disk / "audit")]
    full = next(event for event in events if event.kind == "audit-full")
    assert full.detail["policy"] == on_full
    gap = next(event for event in events if event.kind == "gap")
    assert gap.detail["denied"] == denied
    served = [event.request for event in events if event.kind == "served"]
    assert len(served) == acknowledged + 2
    assert gap.detail["unrecorded"] == 0


def test_the_room_that_was_kept_is_given_up_to_say_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.pwrite

    def write(descriptor: int, content: bytes, offset: int) -> int:
        if (tmp_path / LANE / "reserve").exists():
            raise OSError(errno.ENOSPC, "injected")
        return real_write(descriptor, content, offset)

    with open_log(tmp_path) as log:
        log.commit(a_record())
        monkeypatch.setattr(lane_module.os, "pwrite", write)
        with pytest.raises(NodeUnavailableError):
            log.commit(a_record())
        assert kinds_of(tmp_path)[-1] == "audit-full"
        monkeypatch.undo()
        log.commit(a_record())
    assert is_sound(tmp_path)


def test_a_log_whose_thread_ends_by_an_error_fails_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: ended.append(args.exc_type))
    with open_log(tmp_path) as log:
        log.commit(a_record())

        told: list[object] = []

        def fail(_error: object) -> None:
            log.submit(a_record(), told.append)
            raise RuntimeError("a callback that must not fail")

        log.submit(a_record(), fail)
        until(lambda: ended, "the thread ends")
        assert [type(error) for error in told] == [NodeUnavailableError]
        with pytest.raises(NodeUnavailableError):
            log.commit(a_record())


def test_a_lane_folder_that_cannot_be_made_is_an_error_of_the_node(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NodeUnavailableError, match="cannot be made"):
        Lane(tmp_path / "file", node=NODE, name=LANE)


def test_lines_are_json_that_anybody_can_read(tmp_path: Path) -> None:
    committed(tmp_path)
    for line, _where, _is_whole in lines_of(tmp_path / LANE):
        assert json.loads(line)["record"]["node"] == NODE


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    committed(tmp_path)
    assert (tmp_path / LANE).stat().st_mode & 0o077 == 0
    assert segment_of(tmp_path).stat().st_mode & 0o077 == 0


def test_the_clock_of_records_is_aware() -> None:
    assert log_module.now().tzinfo is not None
