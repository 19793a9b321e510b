"""Files of detections, for tests of formats and of detectors."""

from __future__ import annotations

import json

import pytest
from unitrack_edge.runtime.formats.detections import open_detections


@pytest.fixture
def opened(tmp_path):
    """Write a file of detections and open it."""

    def write_and_open(content, name="det.txt", **keywords):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return open_detections(path, **keywords)

    return write_and_open
