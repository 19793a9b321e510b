"""The live view over TLS, with certificates made here."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from unitrack_edge.errors import RequestError
from unitrack_edge.runtime.server.launch import LiveRequest
from unitrack_edge.runtime.server.tls import CertificateFiles, load_certificate
from unitrack_edge.tracking.config import RunConfig

from ...support.servers.live_run import event
from ...support.servers.live_server import TOKEN, Client, bearer, get, log_in, request, serving

for package in ("prometheus_client", "starlette", "uvicorn"):
    pytest.importorskip(package, reason="the extra 'serve' is not installed")

from unitrack_edge.runtime.server import app  # noqa: E402
from unitrack_edge.runtime.server.gate import Limits  # noqa: E402

from ...support.needs import skip_without  # noqa: E402


def make_certificate(folder, name="box", *options):
    """Certificate and key of this machine, self-signed, by OpenSSL's program."""
    program = shutil.which("openssl")
    if program is None:
        skip_without("openssl", "no openssl here (Debian: apt-get install openssl)")
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-keyout", key, "-out", certificate, "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", *(options or ("-nodes",))]
    subprocess.run(command, check=True, capture_output=True)
    return CertificateFiles(certificate, key)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


def trusting(files):
    return ssl.create_default_context(cafile=str(files.certificate))


def test_the_view_over_tls(files, capfd):
    limits = Limits(header_s=1.0)
    with serving(token=TOKEN, certificate=files, limits=limits) as (hub, url):
        assert url.startswith("https://127.0.0.1:")
        hub.on_frame(event(0))
        context = trusting(files)
        assert get(url + "state", context, **bearer(TOKEN))[0] == 200
        assert get(url + "image/door", context, **bearer(TOKEN))[0] == 200
        assert get(url + "state", context)[0] == 401
        assert "; Secure" in log_in(url, TOKEN, context)
        with Client(url, request()) as plain:  # whoever forgets the s
            assert plain.status() == 400
        with Client(url, b"\x16\x03\x01\x00\x05hello") as broken:
            assert broken.status() is None
        with Client(url, b"\x16\x03\x01\x40\x00half of a greeting") as half:
            assert half.status() is None
        # Whoever greets and then says nothing is cut too.
        with Client(url) as silent:
            inside = context.wrap_socket(silent.socket, server_hostname="127.0.0.1")
            with inside:
                inside.sendall(b"GET / HTTP/1.1\r\n")
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    assert inside.recv(100) == b""
    assert capfd.readouterr().err == ""


def test_old_protocols_are_refused(files):
    with serving(token=TOKEN, certificate=files) as (_, url), Client(url) as client:
        context = trusting(files)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(client.socket, server_hostname="127.0.0.1")


def test_a_renewed_certificate_is_taken(files, tmp_path, monkeypatch):
    monkeypatch.setattr(app, "_NOTICES_S", 0.05)
    monkeypatch.setattr(app, "_CERTIFICATE_S", 0.0)
    said = []
    own = CertificateFiles(tmp_path / "live.crt", tmp_path / "live.key")

    def copy(certificate, key):
        for source, target in ((certificate, own.certificate), (key, own.key)):
            shutil.copyfile(source, target)
            os.utime(target, ns=(copy.time, copy.time))
        copy.time += 1_000_000_000

    copy.time = 1_700_000_000_000_000_000
    new = make_certificate(tmp_path, "new")
    copy(files.certificate, files.key)
    with serving(token=TOKEN, certificate=own, say=said.append) as (_, url):
        assert get(url + "state", trusting(files), **bearer(TOKEN))[0] == 200
        copy(files.certificate, new.key)  # in the middle of being renewed
        while not said:
            pass
        assert "the renewed certificate is not used" in said[0]
        assert "do not belong together" in said[0]
        assert get(url + "state", trusting(files), **bearer(TOKEN))[0] == 200
        copy(new.certificate, new.key)
        port = int(url.rstrip("/").rpartition(":")[2])
        while _common_name(port) != "new":
            pass
        assert get(url + "state", trusting(new), **bearer(TOKEN))[0] == 200


def _common_name(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        context.wrap_socket(raw) as inside,
    ):
        return "new" if b"new" in inside.getpeercert(binary_form=True) else "old"


def test_files_that_are_no_certificate(files, tmp_path):
    other = make_certificate(tmp_path, "other")
    encrypted = make_certificate(tmp_path, "locked", "-passout", "pass:secret")
    empty = tmp_path / "empty.pem"
    empty.touch()
    for certificate, key, said in [
        (Path("nowhere.crt"), files.key, r"--serve-cert nowhere\.crt: cannot be read \(No such"),
        (files.certificate, Path("nowhere.key"), r"--serve-key nowhere\.key: cannot be read"),
        (files.certificate, other.key, "do not belong together"),
        (encrypted.certificate, encrypted.key, "the key is encrypted"),
        (empty, files.key, "expected a certificate and its key in PEM format"),
        (files.certificate, None, "expected a certificate and its key in PEM format"),
    ]:
        with pytest.raises(RequestError, match=said) as told:
            load_certificate(CertificateFiles(certificate, key))
        assert "\n" not in str(told.value)
    both = tmp_path / "both.pem"
    both.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    load_certificate(CertificateFiles(both))


def test_flags_that_need_others(files, monkeypatch):
    monkeypatch.delenv("UNITRACK_TOKEN", raising=False)
    with pytest.raises(RequestError, match=r"--serve-key .* needs --serve-cert FILE too"):
        LiveRequest(serve="0", serve_key=files.key).check()
    LiveRequest(serve="0", serve_cert=files.certificate, serve_key=files.key).check()
    for values in (
        {"serve_cert": files.certificate},
        {"serve_key": files.key},
        {"serve_viewer_token": "a token to look"},
        {"unhealthy_after_s": 5.0},
    ):
        with pytest.raises(RequestError, match="belongs to the live view: give --serve PORT too"):
            RunConfig(**values)
    with pytest.raises(RequestError, match="--unhealthy-after 0: expected seconds above 0"):
        RunConfig(serve="0", unhealthy_after_s=0.0)
