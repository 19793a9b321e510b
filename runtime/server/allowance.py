"""How often an address may do something: so much at once, then at a steady rate."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

_MAX_KEYS = 4096  # addresses remembered; those that were quiet for longest are forgotten first


class Allowance:
    """A token bucket for each address. Not thread-safe.

    Args:
        burst: What an address may do at once.
        per_s: What it gets back in a second, up to `burst`.
        clock: Monotonic seconds.
    """

    def __init__(
        self, burst: float, per_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what, and when

    def has(self, address: str) -> bool:
        """Whether `take` would succeed."""
        return self._now(address) >= 1

    def take(self, address: str) -> bool:
        """Use one; False where none is left."""
        left = self._now(address)
        if left < 1:
            return False
        self._put(address, left - 1)
        return True

    def give_back(self, address: str) -> None:
        """Undo a `take`."""
        if address in self._left:
            self._put(address, min(self._burst, self._now(address) + 1))

    def wait_s(self, address: str) -> float:
        """Seconds until `take` succeeds."""
        return max(0.0, 1 - self._now(address)) / self._per_s

    def _now(self, address: str) -> float:
        left, since = self._left.get(address, (self._burst, 0.0))
        return min(self._burst, left + (self._clock() - since) * self._per_s)

    def _put(self, address: str, left: float) -> None:
        self._left[address] = left, self._clock()
        self._left.move_to_end(address)
        if len(self._left) > _MAX_KEYS:
            self._left.popitem(last=False)


@lru_cache(_MAX_KEYS)
def network_of(host: str) -> str:
    """What counts as one address: of IPv6 the /64, which a single user has to choose from.

    Args:
        host: An address as the system writes it.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


@lru_cache(_MAX_KEYS)
def is_this_machine(network: str) -> bool:
    """Whether an address, as `network_of` writes it, is of this machine: a tunnel, a proxy."""
    try:
        return ipaddress.ip_network(network).is_loopback or network == "::/64"
    except ValueError:
        return False
