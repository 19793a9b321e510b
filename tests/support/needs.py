"""What tests of real parts need, and what becomes of them where it is absent."""

from __future__ import annotations

import os

import pytest

REQUIRED = "UNITRACK_TEST_REQUIRE"


def skip_without(part, reason):
    """Skips the test; fails it where `UNITRACK_TEST_REQUIRE` names the part (`browser,rtsp`)."""
    if part in os.environ.get(REQUIRED, "").split(","):
        pytest.fail(f"{REQUIRED} asks for {part}: {reason}")
    pytest.skip(reason)
