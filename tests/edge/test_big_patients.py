"""A patient with many priors, or of many frames, holds no other patient's first frames up."""

import threading
import time
from itertools import pairwise

import pytest

from tests.edge.fakes_for_node import eventually, order, plan, pointer

FRAME_S = 0.05
SMALL = pointer(900)


def series_of(origin, big):
    if big == "219 priors":
        return [origin.hold(pointer(study), 6, with_checksums=False) for study in range(1, 221)]
    return [origin.hold(pointer(1), 4_000, with_checksums=False)]


@pytest.mark.parametrize("big", ["219 priors", "4,000 frames"])
@pytest.mark.parametrize("frames_before", [0, 40])
def test_a_big_patient_delays_anothers_first_frames_by_no_more_than_one_frame_s_time(
    open_warmer, store, origin, documents, big, frames_before
):
    """One thread fetches, so that what is asked of the archive is in the order of the choices."""
    origin.before_frame = lambda _entry: time.sleep(FRAME_S if len(frames()) > frames_before else 0)
    small = origin.hold(SMALL, 9, with_checksums=False)
    warmer, stop = open_warmer(store, threads=1), threading.Event()

    def frames():
        return [one for one in list(origin.asked) if one[0] != "metadata"]

    def run(prefetch_id, *series):
        one = order(documents, plan(*series, prefetch_id=prefetch_id), give_up_s=1000)
        thread = threading.Thread(
            target=lambda: warmer.run(one, tell=lambda _report: None, stop=stop)
        )
        thread.start()
        return thread

    first = run("big", *series_of(origin, big))
    eventually(lambda: len(frames()) > frames_before)
    second = run("small", small)
    own = {(f"{small.series_instance_uid}.{number}", 1) for number in (1, 5, 9)}
    eventually(lambda: own <= set(frames()))
    asked = list(origin.asked)
    stop.set()
    first.join()
    second.join()

    came = [asked.index(("metadata", small.series_instance_uid))]
    came += sorted(asked.index(name) for name in own)
    between = [later - earlier - 1 for earlier, later in pairwise(came)]
    assert max(between) <= 1, between
