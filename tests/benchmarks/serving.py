"""How fast a node serves beside nginx and varnish.

`uv run python -m tests.benchmarks.serving --json`. Each figure is a ratio of requests a second: the
node's, with its whole doorway (an RS256 token, Cedar policies, a durable audit record before each
answer) and its access log on, over the peer's without a log; both on this machine in one run,
rounds interleaved, median of the rounds. The peers: nginx with static files
and sendfile (`vs_nginx`), nginx's `proxy_cache`, nginx that asks a small verifier for every
request (`auth_request`), varnish from memory. What is asked for: frames of 200 KB and of 27 MB as
OHIF asks for them, and the gzip metadata of 1,000 instances. `p99_over_nginx` and
`cpu_us_per_request` (of the server's processes) come from the same rounds. A peer that is not
installed is left out, and named.

As root all of it runs in a network namespace of its own, without BBR: where that is the system's
default, it would pace the peers, and the node as well where it cannot choose.
"""

import argparse
import contextlib
import gzip
import http.client
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from teleprefetch.local.node_process import free_port
from tests.benchmarks.serving_store import assign, fill, node_settings, token_of
from tests.benchmarks.spread import spread
from tests.loopback_issuer import Issuer

_INSIDE = "SERVING_BENCHMARK_INSIDE"
ROOT = Path(__file__).resolve().parents[2]
ACCEPT = "multipart/related; type=application/octet-stream; transfer-syntax=*"
KINDS = ("frames_200KB", "frames_27MB", "metadata_1000")
CONNECTIONS = (1, 16, 32)
PEERS = {
    "nginx": "nginx",
    "nginx_proxy_cache": "nginx",
    "nginx_auth_request": "nginx",
    "varnish": "varnishd",
}

NGINX = """
{user}
worker_processes {workers}; pid {folder}/nginx.pid; error_log {folder}/nginx.log crit; daemon off;
events {{ worker_connections 1024; }}
http {{
  access_log off; server_tokens off; sendfile on; tcp_nopush on; tcp_nodelay on;
  keepalive_requests 10000000; keepalive_timeout 120s; open_file_cache max=10000 inactive=120s;
  default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=all:32m
    max_size=4g inactive=24h use_temp_path=off;
  upstream files {{ server 127.0.0.1:{static}; keepalive 32; }}
  upstream verifier {{ server 127.0.0.1:{verifier}; keepalive 32; }}
  server {{ listen 127.0.0.1:{static} reuseport; root {files}; }}
  server {{ listen 127.0.0.1:{proxy} reuseport;
    location / {{ proxy_pass http://files; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache all; proxy_cache_key "$request_uri|$http_accept"; proxy_cache_valid 200 24h; }} }}
  server {{ listen 127.0.0.1:{auth} reuseport; root {files};
    location / {{ auth_request /_auth; }}
    location = /_auth {{ internal; proxy_pass http://verifier; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_pass_request_body off; }} }}
}}
"""
VARNISH = """
vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{static}"; }}
sub vcl_recv {{ return (hash); }}
sub vcl_backend_response {{ set beresp.ttl = 24h; }}
"""
LUA = """
local requests, count, turn = {}, 0, 0
function init(args)
  for line in io.lines(args[1]) do
    count = count + 1
    requests[count] = wrk.format("GET", line, {Accept = "%s", ["Accept-Encoding"] = "gzip",
      Authorization = "Bearer %s", Host = "127.0.0.1"})
  end
end
function request()
  turn = turn + 1
  return requests[(turn * 7) %% count + 1]
end
function done(summary, latency, requests)
  io.write(string.format("RESULT %%.1f %%.3f %%d\\n", summary.requests / summary.duration * 1e6,
    latency:percentile(99) / 1e3, summary.errors.connect + summary.errors.read
    + summary.errors.status + summary.errors.timeout))
end
"""


@dataclass
class Measured:
    """What the rounds of one server, kind and number of connections gave."""

    rates: list[float] = field(default_factory=list)
    p99s_ms: list[float] = field(default_factory=list)
    cpus_us: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """A server that is measured: its port, its processes, and whether it is asked by file name."""

    port: int
    processes: tuple[subprocess.Popen[bytes], ...]
    by_file: bool

    def cpu_s(self) -> float:
        """What its processes, and those that they made, have used."""
        return sum(_cpu_s(one.pid) for one in self.processes)

    def resident_mb(self) -> float:
        """What they have in memory."""
        return resident_anonymous_mb(one.pid for one in self.processes)


@contextlib.contextmanager
def running(
    folder: Path, paths: dict[str, list[str]], issuer: Issuer, token: str
) -> Iterator[tuple[dict[str, Target], list[str]]]:
    """The node and its peers, each answering; and the names of those that are missing."""
    with contextlib.ExitStack() as stack:
        ports = {
            name: free_port() for name in ("node", "static", "proxy", "auth", "verifier", "varnish")
        }
        cores = os.cpu_count() or 1
        node = tuple(
            _start(
                stack,
                sys.executable,
                "-m",
                "tests.benchmarks.serving_node",
                str(ports["node"]),
                str(folder),
                str(number),
                environment=issuer.settings | node_settings(folder),
            )
            for number in range(cores)
        )
        targets = {"node": Target(ports["node"], node, by_file=False)}
        _wait_for(ports["node"])
        _write_files(folder / "files", ports["node"], paths, token)
        missing = [name for name, program in PEERS.items() if shutil.which(program) is None]
        if "nginx" not in missing:
            targets |= _start_nginx(stack, folder, ports, cores, token)
        if "varnish" not in missing and "nginx" not in missing:
            targets["varnish"] = _start_varnish(stack, folder, ports)
        yield targets, missing


def _start_nginx(
    stack: contextlib.ExitStack, folder: Path, ports: dict[str, int], cores: int, token: str
) -> dict[str, Target]:
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(
        NGINX.format(folder=folder, files=folder / "files", user=user, workers=cores, **ports)
    )
    verifiers = tuple(
        _start(
            stack,
            sys.executable,
            "-m",
            "tests.benchmarks.serving_verifier",
            str(ports["verifier"]),
            token,
        )
        for _ in range(cores)
    )
    nginx = _start(stack, "nginx", "-c", str(config))
    for name in ("static", "proxy", "auth", "verifier"):
        _wait_for(ports[name])
    return {
        "nginx": Target(ports["static"], (nginx,), by_file=True),
        "nginx_proxy_cache": Target(ports["proxy"], (nginx,), by_file=True),
        "nginx_auth_request": Target(ports["auth"], (nginx, *verifiers), by_file=True),
    }


def _start_varnish(stack: contextlib.ExitStack, folder: Path, ports: dict[str, int]) -> Target:
    config = folder / "varnish.vcl"
    config.write_text(VARNISH.format(**ports))
    varnish = _start(
        stack, "varnishd", "-F", "-n", str(folder / "varnish"), "-f", str(config),
        "-a", f"127.0.0.1:{ports['varnish']}", "-s", "malloc,1G",
    )  # fmt: skip
    _wait_for(ports["varnish"])
    return Target(ports["varnish"], (varnish,), by_file=True)


def _start(
    stack: contextlib.ExitStack, *command: str, environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | (environment or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _write_files(folder: Path, port: int, paths: dict[str, list[str]], token: str) -> None:
    """The bodies that the node answers, as files: all servers send the same bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip", "Authorization": f"Bearer {token}"}
    for kind, asked in paths.items():
        (folder / kind).mkdir(parents=True)
        for number, path in enumerate(asked):
            accept = {"Accept": "application/dicom+json"} if kind == "metadata_1000" else {}
            connection.request("GET", path, headers=headers | accept)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the node answers {answer.status}")
            if kind == "metadata_1000" and len(json.loads(gzip.decompress(body))) != 1000:
                raise RuntimeError("the node answers other metadata")
            (folder / kind / str(number)).write_bytes(body)
    connection.close()


def measure(
    target: Target, folder: Path, kind: str, connections: int, seconds: float, token: str
) -> tuple[float, float, float]:
    """Requests a second, the 99th percentile in ms, and microseconds of CPU a request."""
    name = "files" if target.by_file else "paths"
    accept = "application/dicom+json" if kind == "metadata_1000" else ACCEPT
    script = folder / "wrk.lua"
    script.write_text(LUA % (accept, token))
    before, began = target.cpu_s(), time.monotonic()
    run = subprocess.run(
        ["wrk", f"-t{min(connections, 2)}", f"-c{connections}", f"-d{seconds}s",
         "--timeout", "20s", "-s", str(script), f"http://127.0.0.1:{target.port}",
         "--", str(folder / f"{kind}.{name}")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    took = time.monotonic() - began
    cpu_s = target.cpu_s() - before
    found = re.search(r"RESULT ([0-9.]+) ([0-9.]+) ([0-9]+)", run.stdout)
    if found is None or int(found[3]):
        raise RuntimeError(f"wrk met errors: {run.stdout[-300:]}")
    rate = float(found[1])
    return rate, float(found[2]), cpu_s / max(rate * took, 1) * 1e6


def enter_namespace() -> None:
    """Begin again in a network of our own, if we may."""
    if os.geteuid() == 0 and shutil.which("unshare") and shutil.which("ip"):
        os.environ[_INSIDE] = "1"
        command = [sys.executable, "-m", "tests.benchmarks.serving", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--net", *command])  # noqa: S606


def congestion_control() -> str:
    """The network's algorithm; not one that paces if the network is our own."""
    setting = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    if _INSIDE in os.environ:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        try:
            setting.write_text("cubic")
        except PermissionError:  # not among those that the system allows to others: always is RENO
            setting.write_text("reno")
    return setting.read_text().strip()


def compare(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="serving-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # varnish works as another user
        paths = fill(folder / "store")
        for kind, asked in paths.items():
            (folder / f"{kind}.paths").write_text("\n".join(asked) + "\n")
            files = [f"/{kind}/{number}" for number in range(len(asked))]
            (folder / f"{kind}.files").write_text("\n".join(files) + "\n")
        issuer = Issuer()
        token = token_of(issuer)
        assign(folder, issuer)
        with (
            contextlib.closing(issuer),
            running(folder, paths, issuer, token) as (targets, missing),
        ):
            results = rounds(targets, folder, options, token)
            memory = {name: target.resident_mb() for name, target in targets.items()}
    return summary(results, missing) | {"resident_anonymous_mb": memory}


def rounds(
    targets: dict[str, Target], folder: Path, options: argparse.Namespace, token: str
) -> dict[tuple[str, str, int], Measured]:
    results: dict[tuple[str, str, int], Measured] = defaultdict(Measured)
    for number in range(options.rounds + 1):
        for kind in options.kinds:
            for connections in CONNECTIONS:
                names = list(targets)
                names = names[number % len(names) :] + names[: number % len(names)]
                for name in names:
                    seconds = options.seconds if number else 1
                    rate, p99, cpu = measure(
                        targets[name], folder, kind, connections, seconds, token
                    )
                    if number:  # the first round fills caches
                        measured = results[name, kind, connections]
                        measured.rates.append(rate)
                        measured.p99s_ms.append(p99)
                        measured.cpus_us.append(cpu)
    return results


def summary(results: dict[tuple[str, str, int], Measured], missing: list[str]) -> dict[str, Any]:
    report: dict[str, Any] = {"not_installed": missing}
    ratios: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    spreads: dict[str, list[float]] = {}
    for (name, kind, connections), measured in results.items():
        node = results["node", kind, connections]
        at = f"c{connections}"
        if name != "node":
            each = [a / b for a, b in zip(node.rates, measured.rates, strict=True)]
            ratios[f"vs_{name}"][kind][at] = round(statistics.median(each), 3)
            spreads[f"vs_{name}.{kind}.{at}"] = spread(each)
        if name == "nginx":
            each = [a / b for a, b in zip(node.p99s_ms, measured.p99s_ms, strict=True)]
            ratios["p99_over_nginx"][kind][at] = round(statistics.median(each), 3)
            spreads[f"p99_over_nginx.{kind}.{at}"] = spread(each)
        ratios[f"cpu_us_per_request_{name}"][kind][at] = round(
            statistics.median(measured.cpus_us), 1
        )
        ratios[f"requests_per_s_{name}"][kind][at] = round(statistics.median(measured.rates), 1)
    return (
        report
        | {"spread": spreads}
        | {name: {kind: dict(at) for kind, at in kinds.items()} for name, kinds in ratios.items()}
    )


def _cpu_s(pid: int) -> float:
    ticks = 0
    for one in _family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_anonymous_mb(pids: Iterable[int]) -> float:
    """What processes, and those that they made, have in memory of their own (proc(5))."""
    families = [member for pid in pids for member in _family(pid)]
    return round(sum(_status_kb(pid, "RssAnon") for pid in families) / 1024, 1)


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _status_kb(pid: int, name: str) -> int:
    found = re.search(
        rf"^{name}:\s+([0-9]+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    return int(found[1]) if found else 0


def _wait_for(port: int) -> None:
    ends = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.05)
        else:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed (apt-get install wrk)")
    if _INSIDE not in os.environ:
        enter_namespace()
    algorithm = congestion_control()
    report = compare(options) | {
        "congestion_control": algorithm,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
    }
    print(json.dumps(report, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
