"""The live view: the hub, who may look, what is served, and a browser that looks."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import OutputError, RequestError
from unitrack_edge.records import Frame
from unitrack_edge.runtime.events import FrameEvent, SourceEvent
from unitrack_edge.runtime.server.auth import (
    Access,
    Address,
    Tokens,
    parse_address,
    tokens_for,
)
from unitrack_edge.runtime.server.commands import MAX_WAITING, Commands, StartCommand
from unitrack_edge.runtime.server.launch import LiveRequest, open_live

from ...support.servers.browser import Browser
from ...support.servers.live_run import HEIGHT, WIDTH, Producer, event, opened
from ...support.servers.live_server import HERE, TOKEN, VIEWER_TOKEN, get, log_in, post, serving

for package in ("prometheus_client", "starlette", "uvicorn"):
    pytest.importorskip(package, reason="the extra 'serve' is not installed")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402
from unitrack_edge.runtime.server import hub as hub_module  # noqa: E402
from unitrack_edge.runtime.server import routes  # noqa: E402
from unitrack_edge.runtime.server.app import LiveServer  # noqa: E402
from unitrack_edge.runtime.server.hub import PREVIEW_SIDE, Health, LiveHub  # noqa: E402
from unitrack_edge.runtime.server.stats import SourceStats, metrics_text  # noqa: E402


@pytest.fixture
def site(monkeypatch):
    monkeypatch.delenv("UNITRACK_TOKEN", raising=False)
    with serving(Commands()) as both:
        yield both


# Addresses and tokens.


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8080", "127.0.0.1", 8080),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("[::1]:9", "::1", 9),
        ("box.local:65535", "box.local", 65535),
    ],
)
def test_addresses(text, host, port):
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize("text", ["", "x", "1.2.3.4", "65536", "::1:80", "a b:80", "-1", "٨٠:x"])
def test_what_is_no_address(text):
    with pytest.raises(RequestError, match="expected PORT or HOST:PORT"):
        parse_address(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_this_machine_needs_no_token(host, monkeypatch):
    monkeypatch.delenv("UNITRACK_TOKEN", raising=False)
    assert tokens_for(Address(host, 1), None) == Tokens()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "box.local"])
def test_any_other_address_needs_a_token(host, monkeypatch):
    monkeypatch.delenv("UNITRACK_TOKEN", raising=False)
    for token in (None, ""):
        with pytest.raises(RequestError, match=r"give --serve-token TOKEN .*UNITRACK_TOKEN"):
            tokens_for(Address(host, 1), token)
    monkeypatch.setenv("UNITRACK_TOKEN", TOKEN)
    assert tokens_for(Address(host, 1), None) == Tokens(TOKEN)
    assert tokens_for(Address(host, 1), "another one") == Tokens("another one")
    with pytest.raises(RequestError, match="got 5 characters, expected 8"):
        tokens_for(Address(host, 1), "short")


def test_who_knows_the_token():
    access = Access(Address("0.0.0.0", 80), Tokens(TOKEN))
    name, value = access.cookie("operator")
    assert TOKEN not in value
    assert access.role({"authorization": f"Bearer {TOKEN}"}, None) == "operator"
    assert access.role({}, TOKEN) == "operator"
    assert access.role({"cookie": f"a=b; {name}={value}"}, None) == "operator"
    for headers in ({}, {"authorization": TOKEN}, {"authorization": "Bearer x"}, {"cookie": name}):
        assert access.role(headers, None).status == 401
    assert access.role({"cookie": f"{name}={TOKEN}"}, None).status == 401
    assert access.role({"cookie": f"{name}={value}"}, "wrong").status == 401
    assert access.role({}, "wröng").status == 401


def test_what_comes_at_the_end_reaches_those_who_read_lines():
    """Filled gaps hand on all frames that waited at once, and the run is over."""
    with LiveHub() as hub, hub.subscribe() as lines:
        for index in range(30):
            hub.on_frame(event(index))
            time.sleep(0.01 * (index < 10))
        assert not hub.closed
        hub.close()
        assert hub.closed
        assert [json.loads(lines.take())["frame"] for _ in range(len(lines))] == list(range(30))


@pytest.mark.parametrize("pause_s", [0.0, 0.2])
def test_lines_that_a_slow_reader_misses_are_counted_in_the_next_one(pause_s):
    """A burst fills the hub's queue, one in parts the reader's: each frame comes, or is counted."""
    with LiveHub() as hub, hub.subscribe() as lines:
        hub.on_frame(event(0))
        while not len(lines):
            time.sleep(0.01)
        for index in range(1, 700):
            hub.on_frame(event(index))
            if index % 200 == 0:
                time.sleep(pause_s)
        hub.close()
        read = [json.loads(lines.take()) for _ in range(len(lines))]
    assert len(read) <= 256
    frame = -1
    for line in read:
        frame += 1 + line.get("lost", 0)
        assert line["frame"] == frame
        assert line.get("lost", 1) > 0
    assert frame == 699


def test_a_server_with_a_token_shows_nothing_without_it():
    with serving(Commands(), token=TOKEN) as (hub, url):
        hub.on_frame(event(0))
        for path in ("", "state", "metrics", "tracks", "image/door", "stream/door", "nowhere"):
            assert get(url + path)[0] == 401, path
            assert get(url + path + "?token=wrong")[0] == 401, path
        assert post(url + "start", {})[0] == 401
        assert get(url + "state", Authorization=f"Bearer {TOKEN}")[0] == 200
        assert get(url + "state?token=" + TOKEN.replace(" ", "%20"))[0] == 200
        # A browser is given a cookie, and the token leaves its address bar.
        cookie = log_in(url, TOKEN)
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert get(url, Cookie=cookie.split(";")[0])[0] == 200


def test_another_name_for_this_machine_is_refused(site):
    _, url = site
    port = urlsplit(url).port
    assert get(url + "state", Host=f"localhost:{port}")[0] == 200
    for name in ("evil.example", f"evil.example:{port}", "", "127.0.0.1.evil.example", "[::1"):
        assert get(url + "state", Host=name)[0] in (400, 403), name


def test_another_servers_page_can_start_nothing(site):
    hub, url = site
    hub.on_frame(event(0))
    good = {"source": "door", "task": "sot", "box": [1, 2, 30, 40]}
    assert post(url + "start", good, Origin="http://evil.example")[0] == 403
    assert post(url + "start", good, Origin="http://[::1")[0] == 403
    assert post(url + "start", good, **{"Content-Type": "text/plain"})[0] == 403
    assert post(url + "start", good, Origin=url.rstrip("/"))[0] == 202


def test_a_port_in_use(site):
    hub, url = site
    with pytest.raises(OutputError) as told:
        LiveServer(hub, None, Address("127.0.0.1", urlsplit(url).port))
    assert "is in use by another program; give another --serve PORT" in str(told.value)
    assert "\n" not in str(told.value)


def test_addresses_that_are_not_ours():
    with LiveHub() as hub:
        with pytest.raises(RequestError, match="can be reached from other machines"):
            LiveServer(hub, None, Address("0.0.0.0", 0))
        for host in ("192.0.2.1", "no-such-host.invalid"):
            with pytest.raises(OutputError, match=rf"--serve {host}:80"):
                LiveServer(hub, None, Address(host, 80), Tokens(TOKEN))


@pytest.mark.parametrize("package", ["prometheus_client", "starlette", "uvicorn"])
def test_a_missing_package_is_named(package, monkeypatch):
    for module in ("app", "hub", "stats"):
        monkeypatch.delitem(sys.modules, f"unitrack_edge.runtime.server.{module}")
    for module in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with (
        pytest.raises(OutputError, match=rf"{package}.* pip install 'unitrack-edge\[serve\]'"),
        open_live(LiveRequest(serve="0"), print),
    ):
        pass


# What is served.


def test_the_page_comes_with_nothing_from_elsewhere(site):
    _, url = site
    status, headers, body = get(url)
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["x-frame-options"] == "DENY"
    assert b"<canvas" in body or b'"canvas"' in body
    assert b"http://" not in body
    assert b"https://" not in body


def test_state_and_metrics(site):
    hub, url = site
    assert json.loads(get(url + "state")[2]) == {"can_start": True, "sources": []}
    hub.on_source(opened())
    for index in range(5):
        hub.on_frame(event(index, dropped=index))
    hub.on_frame(event(0, 'a"b\\c', "mot"))
    first, second = json.loads(get(url + "state")[2])["sources"]
    assert first["source"] == "door"
    assert (first["frames"], first["dropped"], first["tracks"]) == (5, 4, {"sot": 1})
    assert first["size"] == [WIDTH, HEIGHT]
    assert first["stages_ms"]["backbone"] == 20
    assert first["up"]
    assert second["tracks"] == {"mot": 1}
    hub.on_source(SourceEvent("door", "lost", "door: no frame for 5 s"))
    _, headers, body = get(url + "metrics")
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert samples["unitrack_frames_total", "door"] == 5
    assert samples["unitrack_dropped_frames_total", "door"] == 4
    assert samples["unitrack_up", "door"] == 0
    assert samples["unitrack_source_losses_total", "door"] == 1
    assert samples["unitrack_stage_seconds_total", "door", "backbone"] == pytest.approx(0.1)
    assert samples["unitrack_tracks", 'a"b\\c', "mot"] == 1
    assert samples["unitrack_fps", "door"] > 0
    assert {name: family.type for name, family in families.items()} == {
        "unitrack_up": "gauge",
        "unitrack_frames": "counter",
        "unitrack_dropped_frames": "counter",
        "unitrack_source_losses": "counter",
        "unitrack_fps": "gauge",
        "unitrack_tracks": "gauge",
        "unitrack_stage_seconds": "counter",
        "unitrack_source_status": "gauge",
        "unitrack_last_frame_age_seconds": "gauge",
        "unitrack_refused_requests": "counter",
    }
    assert all(family.documentation for family in families.values())


def test_frames_per_second():
    stats = SourceStats("door")
    assert stats.fps(0.0) == 0
    for index in range(200):
        stats.add_frame(event(index), index / 20)
    assert stats.fps(199 / 20) == pytest.approx(20)
    assert 0 < stats.fps(199 / 20 + 8) <= 5
    assert stats.fps(199 / 20 + 100) == 0


def test_what_a_source_is():
    stats = SourceStats("door", 100.0)
    assert (stats.status, stats.quiet_s(105.0)) == ("waiting", 5)
    stats.add_event(opened())
    assert stats.status == "waiting"
    stats.add_frame(event(0), 110.0)
    for kind in ("warning", "changed"):
        stats.add_event(SourceEvent("door", kind, "something"))
        assert (stats.status, stats.up, stats.quiet_s(112.0)) == ("tracking", True, 2)
    for kind, status in {"lost": "lost", "returned": "waiting", "failed": "failed"}.items():
        stats.add_event(SourceEvent("door", kind, "something"))
        assert stats.status == status
    assert stats.state(112.0)["status"] == "failed"
    text = metrics_text([stats], 112.0, {"wrong token": 3}).decode()
    assert 'unitrack_source_status{source="door",status="failed"} 1.0' in text
    assert 'unitrack_source_status{source="door",status="tracking"} 0.0' in text
    assert 'unitrack_last_frame_age_seconds{source="door"} 2.0' in text
    assert 'unitrack_refused_requests_total{reason="wrong token"} 3.0' in text


def test_a_run_is_healthy_while_any_source_gives_frames(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(hub_module.time, "monotonic", lambda: now)
    with LiveHub(10.0) as hub:
        assert hub.health().ok  # the model is being loaded
        now += 11
        assert hub.health() == Health(False, [], 10.0)
        hub.on_source(SourceEvent("door", "waiting", "not there yet"))
        hub.on_frame(event(0, "yard"))
        now += 9
        assert hub.health() == Health(True, [], 10.0)
        hub.on_frame(event(1, "yard"))
        now += 2
        assert hub.health() == Health(True, ["door"], 10.0)
        assert not hub.health("door").ok
        assert hub.health("yard").ok
        now += 20
        assert hub.health() == Health(False, ["door", "yard"], 10.0)
        hub.on_source(SourceEvent("door", "ended", "done"))
        hub.on_source(SourceEvent("yard", "ended", "done"))
        assert hub.health().ok  # a run that is done is not ill
        with pytest.raises(KeyError):
            hub.health("nobody")


def test_images_show_the_tracks_and_are_encoded_once(monkeypatch):
    encoded = []
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *a: encoded.append(1) or encode(*a))
    with serving() as (hub, url):
        for index in range(20):
            hub.on_frame(event(index))
        time.sleep(0.1)
        assert encoded == []  # nobody watches
        for _ in range(3):
            status, headers, body = get(url + "image/door")
            assert (status, headers["content-type"]) == (200, "image/jpeg")
            assert headers["x-image-number"] == "1"
            assert headers["x-source-size"] == f"{WIDTH}x{HEIGHT}"
        assert encoded == [1]
        image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (HEIGHT, WIDTH, 3)
        bare = event(19).frame.image
        changed = np.abs(image.astype(int) - bare).max(axis=2) > 60
        assert 300 < changed.sum() < 6000  # a box and its label
        hub.on_frame(event(20))
        assert get(url + "image/door?after=1")[1]["x-image-number"] == "2"


def test_images_are_of_a_bounded_size(site):
    hub, url = site
    image = np.zeros((1200, 1600, 3), np.uint8)
    hub.on_frame(FrameEvent("wide", Frame(0, 0.0, image), {}, {}, 0))
    _, headers, body = get(url + "image/wide")
    preview = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert preview.shape == (PREVIEW_SIDE * 3 // 4, PREVIEW_SIDE, 3)
    assert headers["x-source-size"] == "1600x1200"


def test_an_image_is_waited_for(site, monkeypatch):
    hub, url = site
    monkeypatch.setattr(routes, "_IMAGE_WAIT_S", 0.3)
    hub.on_source(opened())
    assert get(url + "image/door")[0] == 204
    assert get(url + "image/nobody")[0] == 404
    assert get(url + "stream/nobody")[0] == 404
    assert get(url + "image/door?after=x")[0] == 400


def test_the_stream_is_mjpeg(site):
    hub, url = site
    with Producer(hub, 40), urllib.request.urlopen(url + "stream/door", timeout=10) as stream:
        kind = stream.headers["content-type"]
        assert kind == "multipart/x-mixed-replace; boundary=frame"
        for _ in range(3):
            assert stream.readline() == b"--frame\r\n"
            assert stream.readline() == b"Content-Type: image/jpeg\r\n"
            length = int(stream.readline().split()[1])
            assert stream.readline() == b"\r\n"
            jpeg = stream.read(length)
            assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) is not None
            assert stream.readline() == b"\r\n"


def test_tracks_are_lines_of_json(site):
    hub, url = site
    with Producer(hub, 50), urllib.request.urlopen(url + "tracks", timeout=10) as stream:
        lines = [json.loads(stream.readline()) for _ in range(10)]
    assert [line["source"] for line in lines] == ["door"] * 10
    assert {line["tracks"][0]["id"] for line in lines} == {7}
    frames = [line["frame"] for line in lines]
    assert len(set(frames)) == 10
    box = event(frames[0]).tracks["sot"].detections.boxes_xyxy[0]
    assert lines[0]["tracks"][0]["box"] == box.tolist()
    # A reader that has gone is forgotten, and lines are made no longer.
    end = time.monotonic() + 5
    while hub._subscribers and time.monotonic() < end:
        hub.on_frame(event(0))
        time.sleep(0.05)
    assert hub._subscribers == []


# What viewers start.


def test_a_viewer_starts_a_track():
    commands = Commands()
    with serving(commands) as (hub, url):
        hub.on_frame(event(0))
        hub.on_frame(event(0, "yard", "vos"))
        box = {"source": "door", "task": "sot", "box": [1, 2, 30, 40.5]}
        point = {"source": "yard", "task": "vos", "point": [10, 20]}
        assert post(url + "start", box) == (202, {"accepted": True})
        assert post(url + "start", point)[0] == 202
        assert commands.take("nobody", "sot") == []
        (command,) = commands.take("door", "sot")
        assert command == StartCommand("door", "sot", box_xywh=(1, 2, 30, 40.5))
        assert commands.take("yard", "vos") == [StartCommand("yard", "vos", point_xy=(10, 20))]
        assert commands.take("door", "sot") == []
        for _ in range(MAX_WAITING):
            assert post(url + "start", box)[0] == 202
        assert post(url + "start", box)[0] == 503
        assert len(commands.take("door", "sot")) == MAX_WAITING


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"[" * 4000, 400),
        (b"x" * 100_000, 413),
        (b"\xff\xfe", 400),
        ([], 400),
        ({"source": "door", "task": "sot"}, 400),
        ({"source": "door", "task": "sot", "point": [1, 2]}, 400),
        ({"source": "door", "task": "sot", "box": [1, 2, 3]}, 400),
        ({"source": "door", "task": "sot", "box": [1, 2, 0, 5]}, 400),
        ({"source": "door", "task": "sot", "box": [1, 2, "x", 5]}, 400),
        ({"source": "door", "task": "sot", "box": [1, 2, 3, 4], "point": [1, 2]}, 400),
        (b'{"source": "door", "task": "sot", "box": [NaN, 2, 3, 4]}', 400),
        (b'{"source": "door", "task": "sot", "box": [1e999, 2, 3, 4]}', 400),
        ({"source": "nobody", "task": "sot", "box": [1, 2, 3, 4]}, 404),
        ({"source": "door", "task": "mot", "box": [1, 2, 3, 4]}, 409),
    ],
)
def test_what_starts_nothing(site, data, status):
    hub, url = site
    hub.on_frame(event(0))
    got, said = post(url + "start", data)
    assert got == status
    assert said["error"]
    assert "\n" not in said["error"]


def test_a_run_without_anything_to_start():
    with serving() as (hub, url):
        hub.on_frame(event(0))
        box = {"source": "door", "task": "sot", "box": [1, 2, 30, 40]}
        assert post(url + "start", box)[0] == 409
        assert not json.loads(get(url + "state")[2])["can_start"]


# Viewers that are many, slow, or gone.


def never_reading(url, path):
    """A connection that asks and then reads nothing."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    return connection


def test_ten_viewers_of_whom_one_never_reads_cost_the_tracker_nothing(site):
    hub, url = site
    fps, seconds = 40, 1.5
    with contextlib.ExitStack() as stack:
        alone = stack.enter_context(Producer(hub, fps))
        while len(alone.times_s) < 16:
            time.sleep(0.01)
        stack.pop_all().close()
        producer = stack.enter_context(Producer(hub, fps))
        for path in ("stream/door", "tracks"):
            stack.enter_context(contextlib.closing(never_reading(url, path)))
        for _ in range(8):
            stack.enter_context(contextlib.closing(never_reading(url, "image/door")))
        begun = len(producer.times_s)
        time.sleep(seconds)
        times = producer.times_s[begun:]
        rate = (len(times) - 1) / (times[-1] - times[0])
    assert rate > 0.95 * fps
    assert np.median(alone.costs_s) < 0.5e-3
    assert np.median(producer.costs_s) < 0.5e-3


def test_the_server_ends_at_once_and_quietly_whoever_still_watches(site, caplog):
    hub, url = site
    with Producer(hub, 40):
        watching = [never_reading(url, path) for path in ("stream/door", "tracks", "state")]
        time.sleep(0.2)
    with LiveHub() as other, LiveServer(other, None, HERE) as server:
        with Producer(other, 40):
            watching += [never_reading(server.url, path) for path in ("stream/door", "tracks")]
            time.sleep(0.2)
        start = time.monotonic()
        server.close()
        assert time.monotonic() - start < 4
        assert other.closed
        port = urlsplit(server.url).port
        with LiveServer(hub, None, Address("127.0.0.1", port)):
            pass
    for connection in watching:
        connection.close()
    assert caplog.records == []


# Opened together.


def test_what_a_run_shows_is_opened_together(tmp_path, monkeypatch):
    monkeypatch.delenv("UNITRACK_TOKEN", raising=False)
    said = []
    request = LiveRequest(serve="0", jsonl=str(tmp_path / "a.jsonl"))
    request.check()
    with open_live(request, said.append) as live:
        assert len(live.listeners) == 2
        for listener in live.listeners:
            listener.on_source(opened())
            listener.on_frame(event(0))
        (source,) = json.loads(get(live.url + "state")[2])["sources"]
        assert source["frames"] == 1
        start = {"source": "door", "task": "sot", "box": [1, 2, 30, 40]}
        assert post(live.url + "start", start)[0] == 202
        assert len(live.commands.take("door", "sot")) == 1
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(live.url + "state", timeout=5)
    assert (tmp_path / "a.jsonl").read_text().count("\n") == 1
    assert said == []
    with open_live(LiveRequest(), said.append) as live:
        assert (live.listeners, live.commands, live.url) == ([], None, None)
    for serve in ("0.0.0.0:80", "x"):
        with pytest.raises(RequestError):
            LiveRequest(serve=serve).check()


# In a browser.


def area_of(browser, selector="canvas"):
    return browser.value(
        f"(({{left, top, width, height}}) => [left, top, width, height])"
        f"(document.querySelector('{selector}').getBoundingClientRect())"
    )


PIXELS = f"""(() => {{
  const canvas = document.querySelector("canvas");
  if (canvas?.width !== {WIDTH}) return 0;
  const data = canvas.getContext("2d").getImageData(0, 100, canvas.width, 1).data;
  return data.reduce((sum, value) => (sum * 31 + value) % 1000003, 1);
}})()"""


STYLED = "getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 27)'"
FOREIGN_SCRIPT = """(() => {
  const script = document.createElement("script");
  script.textContent = "window.foreign = 1";
  document.body.append(script);
  return window.foreign;
})()"""


@pytest.mark.alone
def test_the_page_in_chromium():
    commands = Commands()
    with (
        serving(commands, token=TOKEN, viewer_token=VIEWER_TOKEN) as (hub, url),
        Producer(hub, 20),
        Producer(hub, 20, "yard", "vos"),
        Browser(url + "?" + urlencode({"token": TOKEN})) as browser,
    ):
        before = browser.until(PIXELS)
        browser.until(f"{PIXELS} !== {before}")  # the image moves
        browser.until("document.querySelectorAll('section.up.startable').length === 2")
        shown = "document.querySelector('section dl').textContent"
        figures = browser.until(shown)
        browser.until(f"{shown} !== {json.dumps(figures)}")
        assert "tracks sot" in figures
        assert "backbone" in browser.value("document.querySelector('.stages').textContent")
        assert browser.value("location.search") == ""
        assert browser.value(STYLED)
        assert browser.value(FOREIGN_SCRIPT) is None
        left, top, width, height = area_of(browser)
        browser.drag((left + width / 4, top + height / 4), (left + width / 2, top + height * 3 / 4))
        browser.until("document.querySelector('#note').textContent === 'door: sot started'")
        (command,) = commands.take("door", "sot")
        assert command.task == "sot"
        expected = (WIDTH / 4, HEIGHT / 4, WIDTH / 4, HEIGHT / 2)
        assert command.box_xywh == pytest.approx(expected, abs=2)
        yard = "section[data-source=yard] canvas"
        browser.until(f"document.querySelector('{yard}').width === {WIDTH}")
        left, top, width, height = area_of(browser, yard)
        place = (left + width / 4, top + height / 2)
        browser.drag(place, place)
        if folder := os.environ.get("UNITRACK_SCREENSHOTS"):
            (Path(folder) / "serve.png").write_bytes(browser.screenshot())
        browser.until("document.querySelector('#note').textContent === 'yard: vos started'")
        (command,) = commands.take("yard", "vos")
        assert command.point_xy == pytest.approx((WIDTH / 4, HEIGHT / 2), abs=2)
        image = browser.screenshot()
        assert len(image) > 10_000
        if folder := os.environ.get("UNITRACK_SCREENSHOTS"):
            (Path(folder) / "serve.png").write_bytes(image)
        hub.on_source(SourceEvent("attic", "waiting", "not there yet"))
        attic = "document.querySelector('section[data-source=attic] small')?.textContent"
        browser.until(f"{attic} === 'waiting · not there yet'")
        browser.ask("Page.navigate", url=url + "?" + urlencode({"token": VIEWER_TOKEN}))
        browser.until("document.querySelectorAll('section.up').length === 2")
        assert browser.value("document.querySelectorAll('section.startable').length") == 0
