"""Notifies systemd that a run is up, that it works on, and that it stops.

The protocol of sd_notify(3): lines of text in a datagram to the socket that NOTIFY_SOCKET names.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Mapping

from ..runtime.events import FrameEvent, SourceEvent, StopRequest


class ServiceNotifier:
    """Watches a run and notifies the service manager; does nothing where none asks for it.

    A run works as long as frames are finished or waited for. One that hangs, in a driver for
    instance, is no longer reported as alive, and systemd restarts it after WatchdogSec.

    Args:
        environment: Holds NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID; None: this process's.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        address = given.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._limit_s = _watchdog_s(given)
        self._last_s = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def ready(self, stop: StopRequest) -> None:
        """The run is up; `stop` says while it goes on whether it waits for a frame."""
        self._last_s = time.monotonic()
        self._send("READY=1")
        if self._address and self._limit_s is not None:
            arguments = (stop, self._limit_s)
            self._thread = threading.Thread(
                target=self._watch, args=arguments, name="service", daemon=True
            )
            self._thread.start()

    def on_frame(self, event: FrameEvent) -> None:  # noqa: ARG002
        """The run works."""
        self._last_s = time.monotonic()

    def on_source(self, event: SourceEvent) -> None:
        """Show the newest event in `systemctl status`."""
        self._send(f"STATUS={event.source}: {' '.join(event.message.split())}")

    def close(self) -> None:
        """The run ends. May be called again."""
        if not self._ended.is_set():
            self._ended.set()
            self._send("STOPPING=1")
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> ServiceNotifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self, stop: StopRequest, limit_s: float) -> None:
        while not self._ended.wait(limit_s / 4):
            self._beat(stop, limit_s)

    def _beat(self, stop: StopRequest, limit_s: float) -> None:
        """Say that the run is alive, if it is."""
        if stop.is_waiting or time.monotonic() - self._last_s < limit_s / 2:
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A manager that went away must not end the run.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(errors="replace"), self._address)


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """Seconds after which a silent process is taken to hang; None: nobody watches this one."""
    text, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID")
    if not text.isdecimal() or int(text) == 0 or process not in (None, str(os.getpid())):
        return None
    return int(text) / 1e6
