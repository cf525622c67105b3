"""The benchmarks of the report: what each measures, what it is held against, what it needs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Sense = Literal["at least", "at most"]
LABELS: Final = "tests/data/relevance_labels_blind_2.csv"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a benchmark: where it stands in its JSON, and its bar, if it has one."""

    path: str
    told: str
    bar: float | None = None
    sense: Sense = "at least"
    unit: str = "x"

    def of(self, figures: Mapping[str, Any]) -> float | None:
        """Its value in a benchmark's JSON; None if that has none."""
        found: Any = figures
        for part in self.path.split("."):
            if not isinstance(found, Mapping) or part not in found:
                return None
            found = found[part]
        return float(found) if isinstance(found, int | float) else None

    def is_held(self, value: float) -> bool | None:
        """Whether the bar is held; None without a bar."""
        if self.bar is None:
            return None
        return value >= self.bar if self.sense == "at least" else value <= self.bar


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark: its settings, and the smallest ones instead, which prove nothing."""

    name: str
    title: str
    told: str
    figures: tuple[Figure, ...]
    minutes: float
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    root: str = ""

    @property
    def module(self) -> str:
        """What `python -m` runs."""
        return f"tests.benchmarks.{self.name}"


def _over(prefix: str, told: str, kind: str, bar: float | None = None) -> Iterator[Figure]:
    for connections in (1, 16, 32):
        words = f"{told}, {connections} connection{'s' if connections > 1 else ''}"
        yield Figure(f"{prefix}.{kind}.c{connections}", words, bar)


def _links() -> Iterator[Figure]:
    for rate in (20, 100, 1000):
        for round_trip in (10, 50, 150):
            at = f"{rate} Mbit/s, {round_trip} ms"
            yield Figure(
                f"order_over_bytes_per_bandwidth.{at}", f"order over bytes, {at}", 1.15, "at most"
            )


CATALOGUE: Final[tuple[Benchmark, ...]] = (
    Benchmark(
        "serving",
        "Serving",
        "Requests a second of a node - token, policy, durable audit, access log - over a peer's, "
        "which has none of these; rounds interleaved on one machine.",
        (
            *_over("vs_nginx_auth_request", "200 KB, nginx + auth_request", "frames_200KB", 1.0),
            *_over("vs_nginx_proxy_cache", "200 KB, nginx proxy_cache", "frames_200KB", 0.8),
            *_over("vs_nginx", "metadata of 1,000, nginx", "metadata_1000", 0.8),
            Figure(
                "p99_over_nginx.frames_200KB.c32",
                "200 KB, p99 over nginx's, 32 connections",
                2.0,
                "at most",
            ),
            *_over("vs_nginx", "200 KB, nginx static", "frames_200KB"),
            *_over("vs_varnish", "200 KB, varnish", "frames_200KB"),
            *_over("vs_nginx", "27 MB, nginx static", "frames_27MB"),
        ),
        minutes=6,
        quick=("--rounds", "1", "--seconds", "1", "--kinds", "frames_200KB"),
        needs=("wrk", "nginx", "varnishd"),
        root="a network of its own, in which no peer is paced by BBR",
    ),
    Benchmark(
        "warming",
        "Warming",
        "curl --parallel's time over a node's for the same bytes from the same nginx. curl checks "
        "nothing and keeps plain files; the node signs, verifies, syncs and reads back.",
        (
            Figure("vs_curl", "200 KB frames, loopback", 0.8),
            Figure("vs_curl_at_100_ms", "200 KB frames, 100 ms", 0.8),
            Figure("vs_curl_verified", "200 KB frames, every pixel checked", 0.5),
            Figure("vs_curl_durable", "200 KB frames, curl syncs too"),
            Figure("big_frames", "27 MB frames"),
            Figure("big_frames_durable", "27 MB frames, curl syncs too"),
            *_links(),
        ),
        minutes=15,
        arguments=("--links",),
        quick=("--rounds", "1", "--frames", "200", "--far-frames", "100", "--big-frames", "2"),
        needs=("nginx", "curl"),
        root="links of a set rate and round trip",
    ),
    Benchmark(
        "reader",
        "A reader behind 150 ms and 100 Mbit/s",
        "How much sooner OHIF shows a study from the warm node than from the archive itself, in a "
        "real browser, from its own log of requests.",
        (
            Figure("first_frame_speedup", "first frame of a CT", 8),
            Figure("whole_study_speedup", "whole CT", 10),
            Figure("large-mammogram.first_frame_speedup", "first frame of a mammogram, 17 MB", 8),
            Figure("large-mammogram.whole_study_speedup", "whole mammogram, four views", 10),
            Figure("tomosynthesis.first_frame_speedup", "first frame of a tomosynthesis, 9 MB", 8),
            Figure("tomosynthesis.whole_study_speedup", "whole tomosynthesis, 20 frames", 10),
            Figure("long-ct.first_frame_wait_speedup", "waiting for the network: first frame"),
            Figure("long-ct.whole_study_wait_speedup", "waiting for the network: whole CT"),
        ),
        minutes=10,
        quick=("--repeats", "1", "--slices", "20", "--tomosynthesis-slices", "3"),
        needs=("chromium", "Orthanc", "ip"),
        root="a link between two networks",
    ),
    Benchmark(
        "storm",
        "A storm of imports",
        "10,000 imports in an hour, and in a minute, within HealthImaging's quotas, on a virtual "
        "clock; the scheduling and the quotas are the shipped code.",
        (
            Figure("hour.warm_before_notice", "hour: warm before the notice, of what fits", 0.95),
            Figure("minute.warm_before_notice", "minute: the same", 0.95),
            Figure("hour.late_notices", "hour: late notices", 0, "at most", ""),
            Figure("minute.late_notices", "minute: late notices", 0, "at most", ""),
            Figure("hour.reader_throttles", "hour: readers throttled", 0, "at most", ""),
            Figure("minute.reader_throttles", "minute: readers throttled", 0, "at most", ""),
            Figure(
                "recovery.most_asked_after_over_limit",
                "asked over the limit after ten minutes of refusals",
                1.5,
                "at most",
            ),
            Figure("hour.fairness", "hour: worst tenant over its fair share"),
        ),
        minutes=5,
        quick=("--quick",),
    ),
    Benchmark(
        "cold_miss",
        "A cold miss beside a warm",
        "What a reader waits for a frame that is not held while an order warms at full speed, over "
        "the same on an idle node (p95).",
        (
            Figure("ratio", "p95, warming over idle", 1.2, "at most"),
            Figure("idle_p95_ms", "p95, idle node", unit="ms"),
            Figure("busy_p95_ms", "p95, warming node", unit="ms"),
        ),
        minutes=1,
        quick=("--rounds", "1"),
    ),
    Benchmark(
        "authorizer",
        "HealthImaging's authorizer",
        "From a process that does not exist yet to a verdict, every core busy; then with the "
        "issuer down, slow, lying and huge.",
        (
            Figure("cold_p99_ms", "cold, p99", 1000, "at most", "ms"),
            Figure("warm_p50_us", "warm RS256, p50", 150, "at most", "us"),
            Figure("cached_p50_us", "a token seen before, p50", 20, "at most", "us"),
            *(
                Figure(f"{fault}_p99_ms", f"issuer {fault}, p99", 300, "at most", "ms")
                for fault in ("down", "slow", "lying", "huge")
            ),
        ),
        minutes=3,
        quick=("--runs", "3"),
    ),
    Benchmark(
        "pipeline",
        "From event to warm",
        "The whole stack on one machine, a data store limited to 20 Mbit/s.",
        (
            Figure("event_to_first_byte_s", "event to the first frame asked", 1, "at most", "s"),
            Figure(
                "bytes_over_bandwidth_ratio", "event to warm over what bytes take", 1.15, "at most"
            ),
            Figure("rank_10000_priors_s", "10,000 priors ranked", 1, "at most", "s"),
        ),
        minutes=3,
        quick=("--runs", "1", "--bandwidth-mbit", "100"),
    ),
    Benchmark(
        "memory",
        "Memory with 20 GB cached",
        "What two serving processes hold of their own, without the page cache, when every series "
        "has been looked at.",
        (
            Figure("resident_anonymous_mb", "both processes, after", unit="MB"),
            Figure("at_rest_mb", "both processes, after the first frame", unit="MB"),
        ),
        minutes=5,
        quick=("--cached-gb", "0.4"),
    ),
    Benchmark(
        "relevance",
        "Relevance of priors",
        f"The ranking against labels written blind ({LABELS}), and plans of 600 MB.",
        (
            Figure("ndcg_10", "nDCG@10", 0.97, unit=""),
            Figure("p_1", "P@1", 0.97, unit=""),
            Figure("roc_auc", "ROC AUC", 0.975, unit=""),
            Figure("left_right_mistakes", "left taken for right", 0, "at most", ""),
            Figure("budget.relevant_warmed", "relevant studies warmed", 0.76, unit=""),
            Figure("budget.bytes_wasted", "bytes in vain", 0.15, "at most", ""),
        ),
        minutes=0.1,
        arguments=(LABELS, "--budget-mb", "600"),
    ),
    Benchmark(
        "audit",
        "Audit and policy",
        "What a durable record and a decision cost.",
        (
            Figure("submit_records_s", "records that a loop submits", unit="/s"),
            Figure("commit_1_threads_p50_us", "a record waited for, p50", unit="us"),
            Figure("commit_64_threads_records_s", "records, 64 threads wait", unit="/s"),
            Figure("cedar_evaluate_us", "a decision evaluated", unit="us"),
            Figure("remembered_decision_us", "a decision remembered", unit="us"),
        ),
        minutes=1,
        quick=("--runs", "1"),
    ),
)
BY_NAME: Final[Mapping[str, Benchmark]] = {one.name: one for one in CATALOGUE}
