"""Passwords are nowhere to be read."""

from __future__ import annotations

import pytest
from unitrack_edge.runtime.sources.redact import redact


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
