"""Features and images that are of no use are noticed, and runs that do not keep up."""

from dataclasses import replace

import numpy as np
import pytest
from unitrack_edge.errors import BackendError
from unitrack_edge.records import Frame
from unitrack_edge.runtime import pipeline as pipelines
from unitrack_edge.runtime.events import SourceEvent, StopRequest
from unitrack_edge.runtime.health import (
    FEATURES_EVERY,
    ImageHealth,
    ImageWatch,
    PaceWatch,
    check_features,
)
from unitrack_edge.runtime.preprocessing import FeatureMap, Letterbox

from ..support.servers.live_run import event
from .test_pipeline import FakeGraphs, FakeSource, make

RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 256, (64, 96, 3), np.uint8)
GREY = np.full_like(NOISE, 90)


def unit_features(dtype=np.float32):
    values = RNG.normal(size=(1, 8, 12, 16))
    return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(dtype)


def features(values):
    return FeatureMap(values, Letterbox.fit((64, 96), (64, 96)), 8)


def one(value, count=1):
    """Good features with some values replaced."""
    values = unit_features()
    values.reshape(-1)[:count] = value
    return values


BAD = {
    "one NaN": (one(np.nan), "not finite"),
    "all NaN": (np.full_like(unit_features(), np.nan), "not finite"),
    "an infinity": (one(np.inf), "not finite"),
    "two infinities": (one(np.array([np.inf, -np.inf]), 2), "not finite"),
    "zero": (np.zeros_like(unit_features()), "all zero"),
    "saturated": (np.ones_like(unit_features()) / 4, "the same everywhere"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_useless_features_are_refused(name, dtype):
    values, reason = BAD[name]
    with pytest.raises(BackendError, match=rf"{reason}.*cli parity"):
        check_features([features(values.astype(dtype))], [NOISE[None]], Frame(0, 0.0, NOISE))


def test_good_features_pass_and_so_do_uniform_ones_of_a_uniform_image():
    for values, image in (
        (unit_features(), NOISE),
        (unit_features(np.float16), NOISE),
        (np.ones_like(unit_features()) / 4, GREY),
        (np.zeros_like(unit_features()), GREY),
    ):
        check_features([features(values)], [image[None]], Frame(0, 0.0, image))


def test_the_first_frame_and_every_so_many_with_features_are_looked_at(monkeypatch):
    looked = []
    monkeypatch.setattr(pipelines, "check_features", lambda *given: looked.append(given[2].index))
    pipeline, _, _ = make(FakeSource(range(2 * FEATURES_EVERY + 1)))
    pipeline.run(StopRequest())
    assert looked == [0, FEATURES_EVERY, 2 * FEATURES_EVERY]


def test_every_view_of_a_frame_is_looked_at():
    good, bad = features(unit_features()), features(one(np.nan))
    with pytest.raises(BackendError, match="not finite"):
        check_features([good, bad], [NOISE[None]] * 2, Frame(0, 0.0, NOISE))


def test_a_run_on_a_broken_backbone_writes_nothing(monkeypatch):
    monkeypatch.setattr(FakeGraphs, "run", lambda *_: (np.full((1, 8, 12, 4), np.nan, np.float32),))
    pipeline, task_runner, _ = make()
    with pytest.raises(BackendError, match="not finite"):
        pipeline.run(StopRequest())
    assert task_runner.writers[0].written == []


def watch(images, interval_s=0.5):
    said = []
    watched = ImageWatch(said.append)
    for number, image in enumerate(images):
        watched.look(Frame(number, number * interval_s, image))
    return said, watched.health


def noise(mean=120, spread=40):
    image = RNG.normal(mean, spread, (240, 320, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def test_a_frozen_image_is_noticed_and_so_is_its_end():
    still = noise()
    said, health = watch([still] * 40)
    assert said == ["the image is frozen: the same for 10 s"]
    assert (health.frozen, health.covered) == (True, False)
    said, health = watch([still] * 40 + [noise(), noise(), noise()])
    assert said[1:] == ["the image moves again"]
    assert not health.frozen


def test_a_covered_camera_is_noticed_although_its_noise_goes_on():
    said, health = watch([noise()] + [noise(8, 1) for _ in range(40)])
    assert len(said) == 1
    assert "covered or dark" in said[0]
    assert health.covered
    assert not health.frozen
    assert abs(health.brightness - 8) < 1


def test_an_ordinary_camera_is_said_nothing_of():
    said, health = watch([noise() for _ in range(60)])
    assert said == []
    assert abs(health.brightness - 120) < 3


def pace(shares, every=1):
    """Minutes in which a share of frames is dropped, at 10 tracked a second."""
    said, time_s, dropped, frames = [], 0.0, 0.0, 0
    watched = PaceWatch(said.append)
    for share in shares:
        for _ in range(600):
            time_s += 0.1
            dropped += share / (1 - share)
            frames += 1
            watched.look(time_s, frames, int(dropped), every)
    return said


def test_a_run_that_does_not_keep_up_says_so_once_and_when_it_does_again():
    assert pace([0.0] * 5) == []
    assert pace([0.1] * 5) == []
    behind = pace([0.5] * 30)
    assert len(behind) == 1
    assert "50 % of the frames" in behind[0]
    assert "--detect-every" in behind[0]
    assert len(pace([0.5] * 15 + [0.0] * 15)) == 2
    # Back and forth every minute: not more than one line in ten minutes.
    assert len(pace([0.5, 0.0] * 20)) <= 5


def test_only_live_sources_are_watched():
    for source, expected in ((FakeSource(), False), (FakeSource(started_s=0.0), True)):
        pipeline, _, _ = make(source)
        pipeline.run(StopRequest())
        assert (pipeline._images.health is not None) == expected


def test_metrics_show_the_health_of_live_sources():
    stats = pytest.importorskip("unitrack_edge.runtime.server.stats")
    door, clip = stats.SourceStats("door"), stats.SourceStats("clip")
    health = ImageHealth(brightness=7.5, frozen=False, covered=True)
    door.add_frame(replace(event(1), health=health), 0.0)
    clip.add_frame(event(1), 0.0)
    lines = stats.metrics_text([door, clip], 1.0).decode().splitlines()
    shown = [line for line in lines if line.startswith("unitrack_image")]
    assert shown == [
        'unitrack_image_brightness{source="door"} 7.5',
        'unitrack_image_frozen{source="door"} 0.0',
        'unitrack_image_covered{source="door"} 1.0',
    ]
    assert b"unitrack_image" not in stats.metrics_text([clip], 1.0)


def test_a_source_that_is_waited_for_is_not_up():
    stats = pytest.importorskip("unitrack_edge.runtime.server.stats")
    door = stats.SourceStats("door")
    door.add_event(SourceEvent("door", "waiting", "no camera; waiting for it"))
    assert not door.up
    assert b'unitrack_up{source="door"} 0.0' in stats.metrics_text([door], 1.0)
    door.add_event(SourceEvent("door", "opened", "opened"))
    assert door.up
