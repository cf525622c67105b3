"""A link between two network namespaces with a true delay and rate; needs root and /dev/net/tun.

    python -m tests.benchmarks.wan_link NAMESPACE NAMESPACE --delay-ms 75 --rate-mbit 100

Each namespace gets a TUN device; whole packets go across after they have been on the line and on
their way, so that both ends' TCP sees the round trip and the rate. A packet that finds more than
`--queue-kb` waiting before it is dropped, as a router's buffer would. With `--offload` the system
hands over segments of one connection in pieces of up to 64 KB, as it does to a network card, so
that a gigabit is little work.
"""

import argparse
import ctypes
import fcntl
import os
import select
import struct
import subprocess
import time
from collections import deque

ADDRESSES = ("198.18.0.1", "198.18.0.2")  # RFC 2544: for benchmarks alone
_SET_INTERFACE = 0x400454CA  # TUNSETIFF
_TUN_WITHOUT_HEADER = 0x0001 | 0x1000  # IFF_TUN | IFF_NO_PI
_WITH_HEADER = 0x4000  # IFF_VNET_HDR
_SET_OFFLOAD = 0x400454D0  # TUNSETOFFLOAD
_SEGMENTS = 0x01 | 0x02  # TUN_F_CSUM | TUN_F_TSO4
_SEGMENT_BYTES = 1448
_HEAD_BYTES = 52  # of IP and TCP with its timestamp, before each segment
_MOST_BYTES = 65536 + 10
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_AT_ONCE = 32


class Way:
    """One direction: from one device to the other."""

    def __init__(
        self, source: int, target: int, *, delay_s: float, rate_bps: float, queue_s: float
    ) -> None:
        self.source, self._target = source, target
        self._delay_s, self._bytes_per_s, self._queue_s = delay_s, rate_bps / 8, queue_s
        self._line_free_at = 0.0
        self._under_way: deque[tuple[float, bytes]] = deque()

    @property
    def next_at(self) -> float | None:
        """When the next packet arrives, if one is under way."""
        return self._under_way[0][0] if self._under_way else None

    def deliver(self, now: float) -> None:
        """Hand over what has arrived."""
        while self._under_way and self._under_way[0][0] <= now:
            try:
                os.write(self._target, self._under_way[0][1])
            except BlockingIOError:
                return
            self._under_way.popleft()

    def take(self, now: float) -> None:
        """Put on the line what is sent."""
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(self.source, _MOST_BYTES)
            except BlockingIOError:
                return
            begins = max(now, self._line_free_at)
            if begins - now > self._queue_s:
                continue
            heads = len(packet) // _SEGMENT_BYTES * _HEAD_BYTES if len(packet) > 1510 else 0
            self._line_free_at = begins + (len(packet) + heads) / self._bytes_per_s
            self._under_way.append((self._line_free_at + self._delay_s, packet))


def device(namespace: str, *, own: str, peer: str, offload: bool = False) -> int:
    """A TUN device inside a namespace, up, as a file descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "setns")
        number = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        flags = _TUN_WITHOUT_HEADER | (_WITH_HEADER if offload else 0)
        fcntl.ioctl(number, _SET_INTERFACE, struct.pack("16sH", b"wan", flags))
        if offload:
            fcntl.ioctl(number, _SET_OFFLOAD, _SEGMENTS)
        libc.setns(here, _NEW_NETWORK)
    finally:
        os.close(here)
        os.close(there)
    for words in (f"addr add {own} peer {peer} dev wan", "link set wan up txqueuelen 5000"):
        subprocess.run(["ip", "-n", namespace, *words.split()], check=True)
    return number


def carry(ways: list[Way]) -> None:
    """Carry packets for ever."""
    by_source = {way.source: way for way in ways}
    while True:
        arrivals = [way.next_at for way in ways if way.next_at is not None]
        wait = max(0.0, min(arrivals) - time.monotonic()) if arrivals else None
        ready, _, _ = select.select(list(by_source), [], [], wait)
        now = time.monotonic()
        for source in ready:
            by_source[source].take(now)
        for way in ways:
            way.deliver(now)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("namespaces", nargs=2)
    parser.add_argument("--delay-ms", type=float, default=75)
    parser.add_argument("--rate-mbit", type=float, default=100)
    parser.add_argument("--queue-kb", type=float, default=2048)
    parser.add_argument("--offload", action="store_true")
    given = parser.parse_args()
    first, second = ADDRESSES
    a = device(given.namespaces[0], own=first, peer=second, offload=given.offload)
    b = device(given.namespaces[1], own=second, peer=first, offload=given.offload)
    rate_bps = given.rate_mbit * 1e6
    line = {
        "delay_s": given.delay_ms / 1e3,
        "rate_bps": rate_bps,
        "queue_s": given.queue_kb * 8e3 / rate_bps,
    }
    print("up", flush=True)
    carry([Way(a, b, **line), Way(b, a, **line)])


if __name__ == "__main__":
    main()
