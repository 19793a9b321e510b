"""Which parameters a run's heads get."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from unitrack_edge.heads.config import MotConfig, SotConfig
from unitrack_edge.tracking import session
from unitrack_edge.tracking.config import DetectorConfig


@pytest.mark.parametrize(
    ("detector", "given", "follows"),
    [
        (None, None, "auto"),
        ("yolox.onnx", None, "auto"),
        ("motion", None, "off"),
        ("motion", "auto", "auto"),
        ("motion", "flow", "flow"),
    ],
)
def test_the_camera_stands_still_where_detector_motion_needs_it_to(
    detector, given, follows, monkeypatch
):
    monkeypatch.setattr(session, "open_head", lambda _graphs, config, *_: config)
    track = SimpleNamespace(detector=DetectorConfig(detector))
    run = SimpleNamespace(
        config=SimpleNamespace(init=None), _track=track, source=SimpleNamespace(info=None)
    )
    config = session.SourceRun._head(run, MotConfig(camera_motion=given), None, None)
    assert config.follows_camera == follows
    # A task without detections has no such parameter.
    assert session.SourceRun._head(run, SotConfig(), None, None) == SotConfig()
