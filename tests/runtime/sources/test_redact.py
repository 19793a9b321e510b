"""Passwords are nowhere to be read."""

from __future__ import annotations

import pytest
from unitrack_edge.errors import SourceError
from unitrack_edge.runtime.sources.redact import redact, short_name, with_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:secret@cam:554/live?token=secret", "rtsp://***@cam:554/live?***"),
        ("rtsp://me:se/cr?et#secret@@cam/x", "rtsp://***@cam/x"),
        ("rtsp://me:sec ret'secret\"@cam/x", "rtsp://***@cam/x"),
        ("rtsp:/me:secret@cam/x", "rtsp:/***@cam/x"),
        ("opening rtsp://me:secret@cam/x failed", "opening rtsp://***@cam/x failed"),
        ("a http://h/x?k=secret and http://i/y?k=secret", "a http://h/x?*** and http://i/y?***"),
        (
            "gst:rtspsrc location=rtsp://me:secret@cam/x user-id=secret user-pw = secret ! fake",
            "gst:rtspsrc location=rtsp://***@cam/x user-id=*** user-pw = *** ! fake",
        ),
    ],
)
def test_what_is_hidden(text, shown):
    assert redact(text) == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "text", ["http://cam/live", "a@b?c.mp4", "C:/me@home/a.mp4", "frames/*.jpg", "camera0", ""]
)
def test_what_stays(text):
    assert redact(text) == text


def test_secrets_are_filled_in_from_a_file_or_a_variable(tmp_path):
    (tmp_path / "door").write_text("me:p@ss/word:1\nsecond line\n")
    given = {"CREDENTIALS_DIRECTORY": str(tmp_path), "UNITRACK_SECRET_BACK_YARD": "you:%41"}
    url = "rtsp://{secret:door}@10.0.0.7/live"
    # Encoded, so that the address stays the one that was written.
    assert with_secrets(url, given) == "rtsp://me:p%40ss%2Fword%3A1@10.0.0.7/live"
    assert with_secrets("rtsp://{secret:back-yard}@h/a", given) == "rtsp://you:%2541@h/a"
    given["UNITRACK_SECRET_DOOR"] = "other:one"
    assert "me:" in with_secrets(url, given)  # the file comes first
    pipeline = "gst:rtspsrc location=rtsp://h/a user-pw={secret:back-yard} ! decodebin"
    assert with_secrets(pipeline, given).split()[2] == "user-pw=you:%41"


@pytest.mark.parametrize("name", ["absent", "empty", "..", "folder"])
def test_a_secret_that_is_not_there_is_an_error_that_tells_where_it_belongs(name, tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceError, match=r"no such secret.*UNITRACK_SECRET_.*LoadCredential"):
        with_secrets(f"rtsp://{{secret:{name}}}@h/a", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_pipeline_takes_no_secret_that_would_change_it():
    with pytest.raises(SourceError, match="cannot hold a secret") as caught:
        with_secrets("gst:x pw={secret:a}", {"UNITRACK_SECRET_A": "x ! filesink"})
    assert "filesink" not in str(caught.value)


def test_the_name_of_a_secret_is_shown_and_the_secret_is_not():
    url = "rtsp://{secret:door}@10.0.0.7/live"
    assert redact(url) == url
    assert (
        redact(with_secrets(url, {"UNITRACK_SECRET_DOOR": "me:pass"})) == "rtsp://***@10.0.0.7/live"
    )
    assert redact("rtsp://{secret:door}@me:pass@host/a") == "rtsp://***@host/a"
    assert redact("rtsp://me:{secret:door}@host/a") == "rtsp://***@host/a"
    assert redact("gst:x user-pw={secret:door} ! y") == "gst:x user-pw={secret:door} ! y"
    assert short_name(url) == "live"
    assert short_name("rtsp://{secret:door}@10.0.0.7") == "10-0-0"
