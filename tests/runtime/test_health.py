"""Features and images that are of no use are noticed, and runs that do not keep up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unitrack_edge.errors import BackendError
from unitrack_edge.records import Frame
from unitrack_edge.runtime import pipeline as pipelines
from unitrack_edge.runtime.events import SourceEvent, StopRequest
from unitrack_edge.runtime.health import (
    FEATURES_EVERY,
    INTERVALS,
    SCALES,
    ImageHealth,
    ImageWatch,
    Pace,
    PaceWatch,
    check_features,
)
from unitrack_edge.runtime.preprocessing import FeatureMap, Letterbox

from ..support.servers.live_run import event
from .test_pipeline import FakeDetector, FakeGraphs, FakeHead, FakeSource, make

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


class Machine:
    """A run of a camera of 30 FPS, whose frames take as long as a test says.

    Args:
        work_s: Of the detector and of models that look at images; gets the seconds that passed.
        detector: Whether there is one that may run in fewer frames.
        sizes: Whether images may be smaller.
    """

    FPS, TICK_S = 30.0, 5.0

    def __init__(self, work_s, detector=True, sizes=True):
        self.said, self.paces = [], []
        self.time_s = 0.0
        self._work_s, self._detector, self._sizes = work_s, detector, sizes
        self._interval, self._scale = 1, 1.0
        self._frames = self._dropped = 0.0
        self.watch = PaceWatch(self.said.append, self)

    def lengthen(self, interval):
        if self._detector:
            self._interval = interval
        return self._detector

    def shrink(self, scale):
        changed = self._sizes and scale != self._scale
        self._scale = scale if self._sizes else 1.0
        return changed

    def run(self, minutes):
        for _ in range(round(60 * minutes / self.TICK_S)):
            self.time_s += self.TICK_S
            frame_s = self._work_s(self.time_s) * self._scale**2 / self._interval + 0.002
            done = min(self.FPS, 1 / frame_s)
            self._frames += self.TICK_S * done
            self._dropped += self.TICK_S * (self.FPS - done)
            self.watch.look(self.time_s, int(self._frames), int(self._dropped), self._interval)
            self.paces.append((self._interval, self._scale))
        return self

    def at(self, time_s):
        """Interval and scale at a time."""
        return self.paces[round(time_s / self.TICK_S) - 1]


def test_a_run_steps_down_until_it_keeps_up_and_says_each_step():
    machine = Machine(lambda _s: 0.1).run(10)
    assert list(dict.fromkeys(machine.paces))[:3] == [(1, 1.0), (2, 1.0), (4, 1.0)]
    assert machine.said[0].startswith("the run does not keep up: 67 % of the frames of the last 30")
    assert machine.said[0].endswith("; the detector now runs in one of 2 frames")
    assert machine.said[1].endswith("; the detector now runs in one of 4 frames")
    # A step is taken after a window, not within it.
    assert machine.paces.index((2, 1.0)) == 6
    assert machine.paces.index((4, 1.0)) == 12


def test_after_the_detector_come_the_sizes_and_then_a_line():
    machine = Machine(lambda _s: 3.0).run(30)
    steps = list(dict.fromkeys(machine.paces))
    assert steps == [(1, 1.0), (2, 1.0), (4, 1.0), (8, 1.0), (8, 0.75), (8, 0.5)]
    assert (machine.watch.pace.down, machine.watch.pace.up) == (5, 0)
    assert len(machine.said) == 6
    assert "0.75 of the usual side" in machine.said[3]
    assert machine.said[5].endswith("nothing is left to reduce: try a smaller model or fewer tasks")


@pytest.mark.parametrize(
    ("detector", "sizes", "steps"),
    [
        (False, True, [(1, 1.0), (1, 0.75), (1, 0.5)]),
        (True, False, [(1, 1.0), (2, 1.0), (4, 1.0), (8, 1.0)]),
        (False, False, [(1, 1.0)]),
    ],
)
def test_steps_that_a_run_does_not_have_are_left_out(detector, sizes, steps):
    machine = Machine(lambda _s: 3.0, detector, sizes).run(20)
    assert list(dict.fromkeys(machine.paces)) == steps
    assert len(machine.said) == len(steps)


def test_the_detector_stays_at_two_frames_a_second():
    machine = Machine(lambda _s: 3.0)
    machine.FPS = 5.0
    machine.run(10)
    assert list(dict.fromkeys(machine.paces)) == [(1, 1.0), (2, 1.0), (2, 0.75), (2, 0.5)]


def test_a_run_goes_back_up_when_there_is_time_again():
    machine = Machine(lambda s: 3.0 if s < 600 else 0.01).run(60)
    assert machine.at(600) == (8, 0.5)
    assert machine.paces[-1] == (1, 1.0)
    after = list(dict.fromkeys(machine.paces[119:]))
    assert after == [(8, 0.5), (8, 0.75), (8, 1.0), (4, 1.0), (2, 1.0), (1, 1.0)]
    assert (machine.watch.pace.down, machine.watch.pace.up) == (5, 5)
    assert machine.said[-1].endswith("; the detector runs in every frame again")
    quiet = len(machine.said)
    machine.run(600)
    assert len(machine.said) == quiet


def test_attempts_to_go_back_up_become_rare():
    """At every step below a quarter, frames are dropped: an attempt an hour is enough."""
    machine = Machine(lambda _s: 0.1).run(24 * 60)
    ups = machine.watch.pace.up
    assert 5 <= ups <= 5 + 24
    assert machine.watch.pace.down - ups == 2
    late = machine.paces[len(machine.paces) // 2 :]
    assert late.count((4, 1.0)) > 0.95 * len(late)


def test_a_night_of_rest_forgets_the_failed_attempts():
    def work_s(time_s):
        return 0.1 if time_s % 86_400 < 43_200 else 0.01

    machine = Machine(work_s).run(24 * 60 + 10)
    assert machine.at(86_400) == (1, 1.0)
    # The second day begins as the first one did.
    assert machine.at(86_400 + 120) == (4, 1.0)
    first = Machine(work_s).run(10)
    assert machine.watch._calm_needed == first.watch._calm_needed


def test_where_the_detector_adapts_by_itself_nothing_is_done_until_it_is_done():
    said = []
    machine = Machine(lambda _s: 3.0, detector=False)
    watch = PaceWatch(said.append, machine)
    for second in range(1, 300):
        watch.look(second, second, 9 * second, 3, adapting=second < 150)
        assert bool(said) == (second >= 151)
    assert "0.75 of the usual side" in said[0]


SECONDS = st.tuples(st.floats(0, 1), st.floats(0.01, 4000), st.booleans())


@given(st.lists(SECONDS, max_size=400), st.booleans(), st.booleans())
def test_whatever_happens_steps_are_whole_and_each_is_said(seconds, detector, sizes):
    """A share of dropped frames, the time to the next look, and whether `auto` is at work."""
    machine = Machine(lambda _s: 0.1, detector, sizes)
    time_s, frames, dropped = 0.0, 0, 0
    for share, step_s, adapting in seconds:
        before, said = machine.watch.pace, len(machine.said)
        time_s += step_s
        frames, dropped = frames + round(100 * (1 - share)), dropped + round(100 * share)
        machine.watch.look(time_s, frames, dropped, machine._interval, adapting=adapting)
        pace = machine.watch.pace
        assert (pace.interval, pace.scale) == (machine._interval, machine._scale)
        assert (pace.interval in INTERVALS, pace.scale in SCALES) == (True, True)
        places = INTERVALS.index(pace.interval), SCALES.index(pace.scale)
        assert pace.down - pace.up <= sum(places) + 1
        assert pace.scale == 1.0 or pace.down > 0
        if pace != before:
            assert len(machine.said) > said
            assert pace.down + pace.up == before.down + before.up + 1


class Resizable(FakeDetector):
    """A detector that keeps the sizes and frames that it was asked for."""

    def __init__(self):
        self.scales, self.frames = [], []

    def resize(self, scale):
        self.scales.append(scale)
        return True

    def detect(self, frame):
        self.frames.append(frame.index)
        return super().detect(frame)


def test_a_live_run_takes_the_steps_and_a_file_does_not():
    for live in (False, True):
        heard, head, detector = Listener(), FakeHead(wanted_hw=(128, 160)), Resizable()
        head.may_shrink = True
        source = FakeSource(range(0, 25 * 200, 3), started_s=0.0 if live else None)
        settings = {"detector": detector, "detect_every": 1, "degrade": True}
        pipeline, _, graphs = make(source, head, **settings, listeners=[heard])
        pipeline.run(StopRequest())
        sizes = list(dict.fromkeys(image.shape[1:3] for image in graphs.images))
        if not live:
            assert sizes == [(128, 160)]
            assert pipeline.pace is None
            assert len(detector.frames) == pipeline.frames
            continue
        assert sizes == [(128, 160), (96, 120), (64, 80)]
        assert detector.scales == [0.75, 0.5]
        assert pipeline.pace == Pace(8, 0.5, 5, 0)
        assert pipeline.detect_every == heard.events[-1].detect_every == 8
        assert np.diff(detector.frames).max() == 3 * 8
        assert heard.events[0].pace == Pace()
        assert heard.events[-1].pace == pipeline.pace


def test_where_it_is_switched_off_it_is_only_said():
    said = []
    source = FakeSource(range(0, 25 * 60, 3), started_s=0.0)
    pipeline, _, _ = make(source, detector=FakeDetector(), warn=said.append, degrade=False)
    pipeline.run(StopRequest())
    assert pipeline.pace == Pace()
    (line,) = [line for line in said if "keep up" in line]
    assert "--degrade" in line


def test_heads_that_compare_places_keep_their_size():
    head = FakeHead()
    source = FakeSource(range(0, 25 * 100, 3), started_s=0.0)
    pipeline, _, graphs = make(source, head, degrade=True)
    pipeline.run(StopRequest())
    assert {image.shape for image in graphs.images} == {(1, 64, 96, 3)}
    assert pipeline.pace == Pace()


def test_metrics_show_the_steps_of_live_sources():
    stats = pytest.importorskip("unitrack_edge.runtime.server.stats")
    door, clip = stats.SourceStats("door"), stats.SourceStats("clip")
    door.add_frame(replace(event(1), pace=Pace(4, 0.75, 3, 1), detect_every=8), 0.0)
    clip.add_frame(event(1), 0.0)
    lines = stats.metrics_text([door, clip], 1.0).decode().splitlines()
    assert [line for line in lines if line.startswith(("unitrack_deg", "unitrack_det"))] == [
        'unitrack_detect_every{source="door"} 8.0',
        'unitrack_degrade_steps_total{direction="down",source="door"} 3.0',
        'unitrack_degrade_steps_total{direction="up",source="door"} 1.0',
    ]
    assert 'unitrack_image_scale{source="door"} 0.75' in lines
    assert b"unitrack_detect_every" not in stats.metrics_text([clip], 1.0)


class Listener:
    def __init__(self):
        self.events = []

    def on_frame(self, event):
        self.events.append(event)

    def on_source(self, event):
        pass


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
