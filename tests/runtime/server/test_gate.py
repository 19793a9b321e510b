"""Connections before anybody knows whose they are: how many, how long, from where."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ...support.servers.live_run import Producer, event
from ...support.servers.live_server import TOKEN, Client, bearer, get, log_in, request, serving

for package in ("prometheus_client", "starlette", "uvicorn"):
    pytest.importorskip(package, reason="the extra 'serve' is not installed")

from unitrack_edge.benchmarks.endurance.flood import Attacker  # noqa: E402
from unitrack_edge.runtime.server import gate  # noqa: E402
from unitrack_edge.runtime.server.gate import Limits  # noqa: E402

HALF = b"GET /state HTTP/1.1\r\nHost: localhost\r\n"


def until(true, seconds=10.0):
    """Waits for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def descriptors():
    """That this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def clients(stack, url, number, text=b"", address="127.0.0.1"):
    return [stack.enter_context(Client(url, text, address)) for _ in range(number)]


# Waiting.


@pytest.mark.parametrize("text", [b"", HALF], ids=["silent", "half a header"])
def test_those_who_make_no_request_keep_nobody_out_and_few_descriptors(text):
    limits = Limits(waiting=16)
    before = descriptors()
    with serving(token=TOKEN, limits=limits) as (_, url), contextlib.ExitStack() as stack:
        held = clients(stack, url, 150, text)
        until(lambda: sum(client.is_open() for client in held) <= limits.waiting)
        # Both ends are in this process; the rest is the server's own.
        assert descriptors() - before - len(held) <= limits.waiting + 12
        for _ in range(5):
            assert get(url + "state", **bearer(TOKEN))[0] == 200


@pytest.mark.parametrize("text", [b"", HALF], ids=["silent", "half a header"])
def test_a_request_has_so_long_to_arrive(text):
    with serving(limits=Limits(header_s=0.3)) as (_, url), Client(url, text) as client:
        start = time.monotonic()
        assert client.status() is None
        assert time.monotonic() - start < 5


def test_a_byte_from_time_to_time_is_no_request():
    with serving(limits=Limits(header_s=0.5)) as (_, url), Client(url, HALF) as client:
        start = time.monotonic()
        while client.send(b"x") and client.is_open():
            assert time.monotonic() - start < 5
            time.sleep(0.05)
        assert get(url + "state")[0] == 200


def test_half_a_second_request_does_not_hold_a_connection():
    limits = Limits(header_s=0.3, idle_s=0.2)
    with (
        serving(token=TOKEN, limits=limits) as (_, url),
        Client(url, request(token=TOKEN)) as client,
    ):
        assert client.status() == 200
        client.send(HALF)
        until(client.is_ended, 5)


def test_a_request_in_two_parts_is_answered():
    with serving() as (_, url), Client(url, HALF) as client:
        assert client.is_open()
        client.send(b"\r\n")
        assert client.status() == 200


def test_a_request_is_of_bounded_length():
    with serving(limits=Limits(header_bytes=4096)) as (_, url):
        assert get(url + "state", X=3000 * "x")[0] == 200
        with Client(url, HALF + b"X: " + 5000 * b"x") as client:
            assert client.status() == 431


def test_whoever_has_most_connections_makes_room():
    limits = Limits(waiting=8)
    with serving(limits=limits) as (_, url), contextlib.ExitStack() as stack:
        (first,) = clients(stack, url, 1, HALF, "127.0.0.3")
        flood = clients(stack, url, 40, b"", "127.0.0.2")
        until(lambda: sum(client.is_open() for client in flood) <= limits.waiting)
        first.send(b"\r\n")
        assert first.status() == 200


# Serving.


def test_an_address_has_only_so_many_connections(monkeypatch):
    monkeypatch.setattr(gate, "is_this_machine", lambda _network: False)
    with serving(limits=Limits(per_address=2)) as (hub, url), contextlib.ExitStack() as stack:
        hub.on_frame(event(0))
        for viewer in clients(stack, url, 2, request("stream/door"), "127.0.0.2"):
            assert viewer.status() == 200
        (more,) = clients(stack, url, 1, request(), "127.0.0.2")
        assert more.status() == 503
        (other,) = clients(stack, url, 1, request(), "127.0.0.3")
        assert other.status() == 200


def test_a_connection_without_a_request_makes_room_for_one_with():
    with serving(limits=Limits(serving=2)) as (hub, url), contextlib.ExitStack() as stack:
        hub.on_frame(event(0))
        (stream,) = clients(stack, url, 1, request("stream/door"))
        assert stream.status() == 200
        for _ in range(3):
            (client,) = clients(stack, url, 1, request())
            assert client.status() == 200  # and is kept alive
        more = clients(stack, url, 1, request("stream/door"))[0]
        assert more.status() == 200
        (none,) = clients(stack, url, 1, request())
        assert none.status() == 503
        assert stream.is_open()


def test_most_descriptors_stay_with_the_tracker(monkeypatch):
    for descriptors, waiting, serving_ in ((1024, 128, 100), (256, 32, 32), (20, 4, 4)):
        monkeypatch.setattr(resource, "getrlimit", lambda _which, n=descriptors: (n, n))
        limits = Limits.of_this_process()
        assert (limits.waiting, limits.serving) == (waiting, serving_)


def test_without_descriptors_the_server_waits_and_does_not_spin(capfd):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving() as (_, url), contextlib.closing(socket.socket()) as client:
        place = urlsplit(url)
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
        try:
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(OSError):
                    while True:  # whatever was free below
                        stack.enter_context(Path(os.devnull).open())
                client.connect((place.hostname, place.port))
                client.sendall(request())
                cpu = time.process_time()
                time.sleep(0.3)
                assert time.process_time() - cpu < 0.15
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.settimeout(10)
        assert client.recv(12) == b"HTTP/1.1 200"
    assert capfd.readouterr().err == ""


# Unauthorised requests.


def test_an_address_with_too_many_unauthorised_requests_is_refused_unheard():
    limits = Limits(burst=5, per_s=1e-3)
    with serving(token=TOKEN, limits=limits) as (_, url):
        for _ in range(20):  # those who may look are not counted
            assert get(url + "state", **bearer(TOKEN))[0] == 200
        cookie = log_in(url, TOKEN).split(";")[0]
        statuses = [get(url + "state")[0] for _ in range(8)]
        assert statuses == [401] * 5 + [429] * 3
        assert get(url + "state", **bearer(TOKEN))[0] == 429
        assert get(url + "state", Cookie=cookie)[0] == 200  # a browser that was in before
        with Client(url, request(token=TOKEN), "127.0.0.2") as other:
            assert other.status() == 200


def test_all_addresses_together_have_a_limit_too():
    limits = Limits(burst=5, total_burst=12, total_per_s=1e-3)
    with serving(token=TOKEN, limits=limits) as (_, url), contextlib.ExitStack() as stack:
        cookie = log_in(url, TOKEN).split(";")[0]
        statuses = [
            clients(stack, url, 1, request(), f"127.0.1.{number}")[0].status()
            for number in range(1, 21)
        ]
        assert statuses == [401] * 12 + [429] * 8
        assert get(url + "state", Cookie=cookie)[0] == 200


def test_nobody_is_counted_where_everybody_may_look():
    with serving(limits=Limits(burst=3, per_s=1e-3)) as (_, url):
        assert [get(url + "nowhere")[0] for _ in range(10)] == [404] * 10


# All together.


def test_a_flood_takes_nothing_from_the_tracker_nor_from_viewers(caplog, capfd):
    """The measured one, 2,000 and 200 for a minute, is `benchmarks/endurance/flood.py`."""
    said = []
    limits = Limits(header_s=1.0)
    with serving(token=TOKEN, limits=limits, say=said.append) as (hub, url):
        place = urlsplit(url)
        stop = threading.Event()
        attacker = Attacker((place.hostname, place.port), 200, 40, addresses=3, pause_s=0.2)
        thread = threading.Thread(target=attacker.run, args=(30.0, stop))
        with Producer(hub, 20):
            thread.start()
            try:
                until(lambda: attacker.cut > 300, 20)
                answers = [get(url + "image/door", **bearer(TOKEN))[0] for _ in range(10)]
            finally:
                stop.set()
                thread.join()
        assert answers == [200] * 10
        metrics = get(url + "metrics", **bearer(TOKEN))[2].decode()
    assert 'unitrack_refused_requests_total{reason="too many waiting"}' in metrics
    assert len(said) <= 2
    assert caplog.records == []
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_flood_of_a_minute(lite_bundle):
    from unitrack_edge.benchmarks.endurance.flood import main

    assert main(["--bundle", str(Path(lite_bundle.path))]) == 0
