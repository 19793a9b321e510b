"""What systemd is told, over a socket as it opens one."""

import os
import socket

import pytest
from unitrack_edge.runtime.events import SourceEvent, StopRequest
from unitrack_edge.tracking.service import ServiceNotifier

WAIT_S = 10.0


@pytest.fixture
def manager(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("notify")
        sock.settimeout(WAIT_S)
        yield sock


def heard(manager):
    return manager.recv(4096).decode()


def test_ready_status_and_stopping(manager):
    with ServiceNotifier({"NOTIFY_SOCKET": "notify"}) as service:
        service.ready(StopRequest())
        assert heard(manager) == "READY=1"
        service.on_source(SourceEvent("door", "lost", "no frame\nREADY=0"))
        assert heard(manager) == "STATUS=door: no frame READY=0"
    assert heard(manager) == "STOPPING=1"


def test_the_watchdog_hears_of_a_run_by_itself(manager):
    environment = {
        "NOTIFY_SOCKET": "notify",
        "WATCHDOG_USEC": "40000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    stop = StopRequest()
    stop.is_waiting = True
    with ServiceNotifier(environment) as service:
        service.ready(stop)
        assert [heard(manager) for _ in range(4)] == ["READY=1", *["WATCHDOG=1"] * 3]


def test_the_watchdog_hears_of_a_run_that_works_or_waits_and_not_of_one_that_hangs(manager):
    service, stop = ServiceNotifier({"NOTIFY_SOCKET": "notify"}), StopRequest()
    service._beat(stop, 60.0)
    assert heard(manager) == "WATCHDOG=1"
    service._last_s -= 31
    service._beat(stop, 60.0)
    stop.is_waiting = True
    service._beat(stop, 60.0)
    stop.is_waiting = False
    service._beat(stop, 60.0)
    service.on_frame(None)
    service._beat(stop, 60.0)
    service.close()
    # One for the run that waits, one for the frame.
    assert [heard(manager) for _ in range(3)] == ["WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


@pytest.mark.parametrize(
    "environment", [{}, {"NOTIFY_SOCKET": "nobody", "WATCHDOG_USEC": "x"}, {"WATCHDOG_PID": "1"}]
)
def test_without_a_manager_nothing_happens(environment):
    with ServiceNotifier(environment) as service:
        service.ready(StopRequest())
        service.on_source(SourceEvent("door", "lost", "gone"))
    assert service._thread is None
