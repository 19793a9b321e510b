"""Who may look, who may start tracks, and how often a token may be guessed."""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections import Counter

import pytest
from unitrack_edge.errors import RequestError
from unitrack_edge.runtime.server.allowance import Allowance, is_this_machine, network_of
from unitrack_edge.runtime.server.auth import Access, Address, Tokens, tokens_for
from unitrack_edge.runtime.server.commands import Commands
from unitrack_edge.runtime.server.notices import Notices, OwnThreadFilter

from ...support.servers.live_run import event
from ...support.servers.live_server import (
    TOKEN,
    VIEWER_TOKEN,
    Client,
    bearer,
    get,
    post,
    request,
    serving,
)

for package in ("prometheus_client", "starlette", "uvicorn"):
    pytest.importorskip(package, reason="the extra 'serve' is not installed")

BOX = {"source": "door", "task": "sot", "box": [1, 2, 30, 40]}


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


# How often.


def test_so_much_at_once_and_then_at_a_rate():
    clock = Clock()
    allowance = Allowance(3, 0.5, clock)
    assert [allowance.take("a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert allowance.wait_s("a") == pytest.approx(2)
    assert allowance.take("b")
    clock.now += 2
    assert allowance.has("a")
    assert [allowance.take("a") for _ in range(2)] == [True, False]
    allowance.give_back("a")
    assert allowance.take("a")
    clock.now += 1e6
    assert [allowance.take("a") for _ in range(4)] == [True] * 3 + [False]


def test_it_remembers_a_bounded_number_of_addresses():
    allowance = Allowance(1, 1e-9, Clock())
    for number in range(100_000):
        allowance.take(str(number))
    assert len(allowance._left) < 10_000
    assert not allowance.has("99999")


@pytest.mark.parametrize(
    ("host", "network", "own"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::/64", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::ffff:192.0.2.7", "192.0.2.7", False),
        ("2001:db8::1:2:3:4", "2001:db8::/64", False),
        ("fe80::1%eth0", "fe80::/64", False),
        ("", "", False),
    ],
)
def test_what_counts_as_one_address(host, network, own):
    assert network_of(host) == network
    assert is_this_machine(network) == own


# Tokens.


def test_the_tokens_of_a_run(monkeypatch):
    monkeypatch.delenv("UNITRACK_TOKEN", raising=False)
    monkeypatch.delenv("UNITRACK_VIEWER_TOKEN", raising=False)
    here = Address("127.0.0.1", 80)
    assert tokens_for(here, TOKEN, VIEWER_TOKEN) == Tokens(TOKEN, VIEWER_TOKEN)
    with pytest.raises(RequestError, match="give --serve-token TOKEN"):
        tokens_for(here, None, VIEWER_TOKEN)
    with pytest.raises(RequestError, match="are the same: give two"):
        tokens_for(here, TOKEN, TOKEN)
    with pytest.raises(RequestError, match="--serve-viewer-token: got 5 characters, expected 8"):
        tokens_for(here, TOKEN, "short")
    monkeypatch.setenv("UNITRACK_TOKEN", TOKEN)
    monkeypatch.setenv("UNITRACK_VIEWER_TOKEN", VIEWER_TOKEN)
    assert tokens_for(here, None) == Tokens(TOKEN, VIEWER_TOKEN)


def test_who_may_look_starts_nothing():
    commands = Commands()
    with serving(commands, token=TOKEN, viewer_token=VIEWER_TOKEN) as (hub, url):
        hub.on_frame(event(0))
        for path in ("", "state", "metrics", "image/door", "healthz/door"):
            assert get(url + path, **bearer(VIEWER_TOKEN))[0] == 200, path
        assert not json.loads(get(url + "state", **bearer(VIEWER_TOKEN))[2])["can_start"]
        assert json.loads(get(url + "state", **bearer(TOKEN))[2])["can_start"]
        status, answer = post(url + "start", BOX, **bearer(VIEWER_TOKEN))
        assert (status, answer["error"]) == (403, "the viewer's token looks and starts nothing")
        assert commands.take("door", "sot") == []
        assert post(url + "start", BOX, **bearer(TOKEN))[0] == 202


def access_of_both():
    return Access(Address("0.0.0.0", 80), Tokens(TOKEN, VIEWER_TOKEN))


def test_wrong_tokens_are_slowed_down_for_their_address():
    access = access_of_both()
    said = [access.role({}, f"guess {number}", "192.0.2.1") for number in range(30)]
    assert Counter(refusal.status for refusal in said) == {401: 20, 429: 10}
    assert said[-1].retry_s == pytest.approx(10, abs=1)
    assert access.wrong_tokens == 20
    # A right one is not believed either, or it could be found by guessing on.
    assert access.role({}, TOKEN, "192.0.2.1").status == 429
    name, value = access.cookie("operator")
    guessed = value.partition(".")[2]
    assert access.role({"cookie": f"{name}={guessed}"}, None, "192.0.2.1").status == 429
    assert access.role({}, TOKEN, "192.0.2.2") == "operator"
    # Browsers that were let in by this process, and connections that were, go on.
    assert access.role({"cookie": f"{name}={value}"}, None, "192.0.2.1") == "operator"
    assert access.role({}, TOKEN, "192.0.2.1", "operator") == "operator"


def test_a_viewer_cannot_guess_the_operators_token_from_inside():
    access = access_of_both()
    for number in range(20):
        access.role({}, f"guess {number}", "192.0.2.1", "viewer")
    assert access.role({}, TOKEN, "192.0.2.1", "viewer").status == 401
    assert access.role({}, VIEWER_TOKEN, "192.0.2.1", "viewer") == "viewer"


def test_a_cookie_belongs_to_its_role_and_survives_a_restart():
    first, second = access_of_both(), access_of_both()
    for role in ("operator", "viewer"):
        name, value = first.cookie(role)
        headers = {"cookie": f"{name}={value}"}
        assert first.role(headers, None) == second.role(headers, None) == role
        assert second.cookie(role) != (name, value)
        assert first.knows(f"GET / HTTP/1.1\r\nCookie: {name}={value}\r\n\r\n".encode())
        assert not second.knows(value.encode())
    operator, viewer = (first.cookie(role)[1] for role in ("operator", "viewer"))
    mixed = f"{viewer.partition('.')[0]}.{operator.partition('.')[2]}"
    assert first.role({"cookie": f"{name}={mixed}"}, None) == "viewer"
    other = Access(Address("0.0.0.0", 80), Tokens("another token"))
    assert other.role({"cookie": f"{name}={operator}"}, None).status == 401


def test_a_browser_of_an_earlier_run_gets_a_new_cookie():
    with serving(token=TOKEN) as (_, url):
        port = int(url.rstrip("/").rpartition(":")[2])
        name, value = Access(Address("127.0.0.1", port), Tokens(TOKEN)).cookie("operator")
        status, headers, _ = get(url + "state", Cookie=f"{name}={value}")
        assert status == 200
        new = headers["set-cookie"].split(";")[0]
        assert new != f"{name}={value}"
        assert get(url + "state", Cookie=new)[1]["set-cookie"] is None


def test_a_client_cannot_give_another_address_as_its_own():
    with serving(token=TOKEN) as (_, url):
        statuses = [
            get(url + "state?token=wrong", **{"X-Forwarded-For": f"192.0.2.{number}"})[0]
            for number in range(25)
        ]
    assert statuses == [401] * 20 + [429] * 5


# What everybody sees.


def test_every_answer_tells_browsers_what_not_to_do():
    with serving(token=TOKEN) as (_, url):
        for path, headers in itertools.product(("", "state", "nowhere"), ({}, bearer(TOKEN))):
            answer = get(url + path, **headers)[1]
            assert "frame-ancestors 'none'" in answer["content-security-policy"]
            assert "default-src 'none'" in answer["content-security-policy"]
            assert "unsafe" not in answer["content-security-policy"]
            assert answer["x-content-type-options"] == "nosniff"
            assert answer["referrer-policy"] == "no-referrer"
            assert answer["cross-origin-resource-policy"] == "same-origin"
            assert answer["cache-control"] == "no-store"


def test_health_is_for_everybody_and_names_are_not():
    with serving(token=TOKEN, after_s=0.05) as (hub, url):
        hub.on_frame(event(0))
        hub.on_frame(event(0, "yard"))
        threading.Event().wait(0.1)
        assert get(url + "healthz")[::2] == (503, b'{"ok":false}')
        hub.on_frame(event(1))
    with serving(token=TOKEN) as (hub, url):
        hub.on_frame(event(0))
        assert get(url + "healthz")[::2] == (200, b'{"ok":true}')
        assert get(url + "healthz/door")[0] == 401
        answer = json.loads(get(url + "healthz/door", **bearer(TOKEN))[2])
        assert answer == {"ok": True, "late": [], "after_s": 30.0}
        assert get(url + "healthz/nobody", **bearer(TOKEN))[0] == 404


# The log.


def test_strangers_write_nothing_into_the_log(caplog, capfd):
    said = []
    evil = "\r\nlive view: all is well\x1b[2J"
    with caplog.at_level(logging.DEBUG), serving(token=TOKEN, say=said.append) as (_, url):
        texts = [
            b"\x16\x03\x01\x02\x00" + 600 * b"\xff" + b"\r\n\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
            b"BREW /pot HTCPCP/1.0\r\n\r\n",
            request("state", Upgrade="websocket", Connection="Upgrade"),
            request("state?token=%ff%0d%0a"),
            f"GET /{evil} HTTP/1.1\r\nHost: x{evil}\r\n\r\n".encode(),
            b"POST /start HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ]
        for text in texts:
            with Client(url, text) as client:
                assert client.status() in (400, 401)
        assert get(url + "state", **bearer(TOKEN))[0] == 200
    assert said == []
    assert caplog.records == []
    assert capfd.readouterr().err == ""


def test_an_error_of_the_server_is_one_line_without_what_was_sent(caplog, capfd, monkeypatch):
    said = []
    with serving(token=TOKEN, say=said.append) as (hub, url):

        def fail():
            raise ValueError("evil\nline")

        monkeypatch.setattr(hub, "state", fail)
        for _ in range(30):
            assert get(url + "state?evil", **bearer(TOKEN))[0] == 500
    assert said == [said[0]]
    assert said[0].startswith("live view: an answer failed: ValueError in fail, line ")
    assert "evil" not in said[0]
    assert caplog.records == []
    assert capfd.readouterr().err == ""


def test_refusals_are_said_from_time_to_time():
    clock, said = Clock(), []
    notices = Notices(said.append, clock)
    reasons, addresses = Counter(), Counter()
    for second in range(3600):
        reasons["no request in time"] += 5
        reasons["wrong token"] += 1
        addresses["192.0.2.1"] += 5
        addresses["192.0.2.2"] += 1
        notices.refusals(reasons, addresses)
        clock.now += 1
        if second < 10:
            assert said == []
    assert 5 <= len(said) <= 8
    assert said[1] == (
        "live view: refused 3600 requests (no request in time: 3000, wrong token: 600), "
        "3000 of them from 192.0.2.1"
    )
    quiet = Notices(said.append, clock)
    del said[:]
    quiet.refusals(Counter({"wrong token": 2}), Counter())
    clock.now += 3600
    quiet.refusals(Counter({"wrong token": 2}), Counter())
    assert said == []  # a few are nothing to speak of

    def full(_line):
        raise BrokenPipeError

    Notices(full, clock).line("nobody reads this")


def test_what_others_log_passes():
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "text", None, None)
    assert OwnThreadFilter("live server").filter(record)
    record.threadName = "live server"
    assert not OwnThreadFilter("live server").filter(record)


def test_tokens_come_from_credentials_as_the_secrets_of_sources_do(monkeypatch, tmp_path):
    here = Address("0.0.0.0", 1)
    for name, token in (("operator", TOKEN), ("viewer", VIEWER_TOKEN)):
        (tmp_path / name).write_text(f"{token}\nof 2026\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    named = "{secret:operator}", "{secret:viewer}"
    both = Tokens(TOKEN, VIEWER_TOKEN)
    assert tokens_for(here, *named) == both
    monkeypatch.setenv("UNITRACK_TOKEN", named[0])
    monkeypatch.setenv("UNITRACK_VIEWER_TOKEN", named[1])
    assert tokens_for(here, None, None) == both
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    monkeypatch.setenv("UNITRACK_SECRET_OPERATOR", TOKEN)
    monkeypatch.setenv("UNITRACK_SECRET_VIEWER", VIEWER_TOKEN)
    assert tokens_for(here, *named) == both


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{secret:absent}", "no such secret.*UNITRACK_SECRET_ABSENT.*LoadCredential"),
        ("{secret:..}", "no such secret"),
        ("{secret:folder}", "no such secret"),
        ("{secret:empty}", "no such secret"),
        ("{secret:bytes}", "cannot be read"),
        ("{secret:short}", "got 5 characters, expected 8"),
        ("{secret:a/b}", "expected {secret:NAME} and nothing beside it"),
        ("{secret:}", "expected {secret:NAME} and nothing beside it"),
        ("x{secret:good}", "expected {secret:NAME} and nothing beside it"),
        ("{secret:good", "expected {secret:NAME} and nothing beside it"),
    ],
)
def test_a_token_that_names_no_secret_is_never_a_token_itself(monkeypatch, tmp_path, text, message):
    (tmp_path / "folder").mkdir()
    for name, data in (("empty", b"\n"), ("bytes", b"\xff\xfe12345678"), ("short", b"abcde")):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good").write_text(TOKEN)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("UNITRACK_TOKEN", text)
    for given, where in ((text, "--serve-token"), (None, "UNITRACK_TOKEN|--serve-token")):
        with pytest.raises(RequestError, match=f"({where}): .*{message}") as caught:
            tokens_for(Address("0.0.0.0", 1), given)
        assert "abcde" not in str(caught.value)
        assert TOKEN not in str(caught.value)
