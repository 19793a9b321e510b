"""Several sources at once: one backbone, and nothing else in common."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from unitrack_edge.commands.options.track import one_each
from unitrack_edge.errors import DetectionError, RequestError
from unitrack_edge.evaluation.synthetic.files import write_scene
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.runtime.bundle.spec import TensorSpec
from unitrack_edge.runtime.events import StopRequest
from unitrack_edge.runtime.inference.runner import GraphRunner
from unitrack_edge.runtime.multi_source import MultiSource, Stream, batch_limit, check_batch
from unitrack_edge.runtime.pipeline import Pipeline, TaskRunner
from unitrack_edge.runtime.sources.redact import short_name, short_names

from ..support.command_line import check_error, report_of, rows_of, run_cli, video_of
from ..support.tolerance import assert_within, network_error
from .test_pipeline import FakeHead, FakeSource, FakeWriter

# The loop, with parts that only count.


class FakeGraphs:
    """A backbone whose features are the brightness of each image."""

    def __init__(self, batch="batch"):
        shape = (batch, "height", "width", 3)
        inputs = (TensorSpec("image", "uint8", shape),)
        graphs = {"backbone": SimpleNamespace(inputs=inputs)}
        self.spec = SimpleNamespace(stride=8, sizes_hw=(), graphs=graphs)
        self.batches = []

    on_device = False

    def place(self, array):
        return array

    def limit(self, graph, input_index, axis):
        assert (graph, input_index, axis) == ("backbone", 0, 0)

    def run(self, graph, images):
        assert graph == "backbone"
        self.batches.append(len(images))
        shape = (len(images), images.shape[1] // 8, images.shape[2] // 8, 1)
        return (np.array(np.broadcast_to(images[:, :1, 40:41, :1].astype(np.float32), shape)),)


class Recorder:
    def __init__(self):
        self.frames = []

    def on_frame(self, event):
        self.frames.append(event)

    def on_source(self, event):
        pass


def make_member(graphs, source, head=None, *, name="", listeners=(), max_frames=None):
    task_runner = TaskRunner("mot", head or FakeHead((48, 64)), None, [FakeWriter()])
    pipeline = Pipeline(source, graphs, [task_runner], name=name, listeners=listeners)
    ends = []
    stream = Stream(source, pipeline, max_frames, lambda *_: None, ends.append)
    return stream, task_runner, ends


@pytest.mark.parametrize("overlap", [True, False])
def test_frames_of_one_size_share_a_pass_and_get_their_own_features(overlap):
    graphs = FakeGraphs()
    made = [make_member(graphs, FakeSource(range(5))) for _ in range(2)]
    MultiSource(graphs, [stream for stream, _, _ in made], overlap=overlap, batch=2).run(
        StopRequest()
    )
    assert sum(graphs.batches) == 10
    assert 2 in graphs.batches
    for _, task_runner, ends in made:
        assert ends == [None]
        assert [index for index, _ in task_runner.writers[0].written] == list(range(5))
        for index, features, _ in task_runner.head.calls:
            assert features.array.shape == (1, 6, 8, 1)
            assert features.array[0, 0, 0, 0] == index
            assert features.array.base is None  # a copy: keeps no other frame alive


class OnDevice:
    """Features on a device; only `to_host` brings them back, and is counted."""

    fetched = 0

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def rows(self):
        return [OnDevice(row[None]) for row in self.array]

    def to_host(self):
        OnDevice.fetched += 1
        return self.array


def test_a_batch_on_a_device_is_taken_apart_there():
    class Device(FakeGraphs):
        def place(self, _array):
            return object()

        def run(self, graph, images):
            return tuple(OnDevice(array) for array in super().run(graph, images))

    graphs = Device()
    made = [make_member(graphs, FakeSource(range(5))) for _ in range(2)]
    MultiSource(graphs, [stream for stream, _, _ in made], batch=2).run(StopRequest())
    assert 2 in graphs.batches
    # The first frame's features of each source are looked at: are they numbers?
    assert OnDevice.fetched == 2
    for _, task_runner, ends in made:
        assert ends == [None]
        for index, features, _ in task_runner.head.calls:
            assert features.array.shape == (1, 6, 8, 1)
            assert features.array.array[0, 0, 0, 0] == index


def test_frames_of_other_sizes_and_heads_without_features_go_by_themselves():
    class Blind(FakeHead):
        needs_features = False

    graphs = FakeGraphs()
    heads = [FakeHead((48, 64)), FakeHead((64, 96)), Blind(), FakeHead((48, 64))]
    made = [make_member(graphs, FakeSource(range(2)), head) for head in heads]
    MultiSource(graphs, [stream for stream, _, _ in made], overlap=False, batch=4).run(
        StopRequest()
    )
    assert sorted(graphs.batches) == [1, 1, 2, 2]
    assert sum(graphs.batches) == 6  # the blind one needs none
    assert [len(task_runner.head.calls) for _, task_runner, _ in made] == [2] * 4
    assert made[2][1].head.calls[0][1] is None


def test_without_the_option_frames_go_one_by_one():
    graphs = FakeGraphs(batch=1)
    made = [make_member(graphs, FakeSource(range(2))) for _ in range(3)]
    MultiSource(graphs, [stream for stream, _, _ in made]).run(StopRequest())
    assert graphs.batches == [1] * 6


def test_a_backbone_that_takes_no_batch_says_so():
    of_one = FakeGraphs(batch=1)
    of_three = FakeGraphs()
    of_three.limit = lambda *_: 3
    for graphs, limit in ((of_one, 1), (of_three, 3)):
        assert batch_limit(graphs) == limit
        with pytest.raises(RequestError, match=rf"--batch 4: .* takes {limit} at once"):
            check_batch(graphs, 4)
    assert batch_limit(FakeGraphs()) is None
    check_batch(FakeGraphs(), 4)


def test_one_that_fails_leaves_the_others_running():
    def fail(frame):
        if frame.index == 2:
            raise DetectionError("broken")

    graphs = FakeGraphs()
    bad = make_member(graphs, FakeSource(range(5)), FakeHead((48, 64), work=fail))
    good = make_member(graphs, FakeSource(range(5)))
    MultiSource(graphs, [bad[0], good[0]]).run(StopRequest())
    assert [str(error) for error in bad[2]] == ["broken"]
    assert good[2] == [None]
    assert len(bad[1].writers[0].written) == 2
    assert len(good[1].writers[0].written) == 5


def test_a_source_without_a_frame_holds_nobody_up():
    class Silent(FakeSource):
        there = False

        def ready(self):
            return self.there

    graphs, silent = FakeGraphs(), Silent(range(3))
    slow = make_member(graphs, silent)
    quick = make_member(graphs, FakeSource(range(5)))
    timer = threading.Timer(0.1, lambda: setattr(silent, "there", True))
    timer.start()
    MultiSource(graphs, [slow[0], quick[0]]).run(StopRequest())
    assert sum(graphs.batches) == 8
    assert (slow[0].pipeline.frames, quick[0].pipeline.frames) == (3, 5)
    timer.join()


def test_a_stop_and_a_limit_end_it():
    stop = StopRequest()
    graphs = FakeGraphs()
    limited = make_member(graphs, FakeSource(range(99)), max_frames=2)
    head = FakeHead((48, 64), work=lambda f: setattr(stop, "is_set", f.index == 6))
    stopping = make_member(graphs, FakeSource(range(99)), head)
    MultiSource(graphs, [limited[0], stopping[0]], overlap=False).run(stop)
    assert (limited[0].pipeline.frames, stopping[0].pipeline.frames) == (2, 7)
    assert (limited[0].pipeline.interrupted, stopping[0].pipeline.interrupted) == (False, True)
    assert (limited[2], stopping[2]) == ([None], [None])


def test_heads_run_while_the_backbone_works():
    """Two sources whose backbone and heads take 20 ms each: 40 ms a pair, and not 60 or 80."""

    class SlowGraphs(FakeGraphs):
        def run(self, graph, images):
            time.sleep(0.02)
            return super().run(graph, images)

    elapsed = {}
    for overlap in (True, False):
        graphs = SlowGraphs(batch=1)
        heads = [FakeHead((48, 64), work=lambda _: time.sleep(0.02)) for _ in range(2)]
        made = [make_member(graphs, FakeSource(range(6)), head) for head in heads]
        started = time.monotonic()
        MultiSource(graphs, [stream for stream, _, _ in made], overlap=overlap).run(StopRequest())
        elapsed[overlap] = time.monotonic() - started
        assert [task_runner.writers[0].written[-1] for _, task_runner, _ in made] == [(5, [6])] * 2
    assert elapsed[True] < 0.75 * elapsed[False]


def test_observers_are_told_of_every_frame():
    graphs, recorder = FakeGraphs(), Recorder()
    source = FakeSource([0, 4, 5], started_s=time.monotonic())
    first = make_member(graphs, source, name="door", listeners=[recorder])
    second = make_member(graphs, FakeSource(range(2)), name="yard", listeners=[recorder])
    MultiSource(graphs, [first[0], second[0]]).run(StopRequest())
    events = [e for e in recorder.frames if e.source == "door"]
    assert [(e.frame.index, e.dropped) for e in events] == [(0, 0), (4, 3), (5, 3)]
    assert [e.tracks["mot"].ids.tolist() for e in events] == [[1], [5], [6]]
    assert {"read", "letterbox", "backbone", "head", "write", "latency"} <= set(events[0].stages_s)
    assert len(recorder.frames) == 5


# Names, and options for each source.


def test_names_of_sources_hide_passwords_and_are_unique():
    names = short_names(
        ["rtsp://me:sec/ret@door/live?k=v", "/a/live.mp4", "camera0", "frames/", "live.avi"]
    )
    assert names == ["live", "live-2", "camera0", "frames", "live-3"]
    for text in ("rtsp://me:secret@host", "rtsp://me:se/cret@host/", "gst:x user-pw=secret ! y"):
        assert "cret" not in short_name(text)


def test_options_for_each_source():
    assert one_each("--init", [], ["a", "b"]) == [None, None]
    assert one_each("--init", ["1.png", "2.png"], ["a", "b"]) == ["1.png", "2.png"]
    assert one_each("--init", ["x/{name}.png"], ["a", "b"]) == ["x/a.png", "x/b.png"]
    assert one_each("--init", ["1.png"], ["a"]) == ["1.png"]
    for values in (["1.png"], ["1.png"] * 3):
        with pytest.raises(RequestError, match="once each"):
            one_each("--init", values, ["a", "b"])


# The command, with a real backbone.

SMALL = ("--task", "mot", "--mot-height", "96", "--mot-width", "160")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    made = []
    for seed in range(2):
        config = SceneConfig(frames=8, height=96, width=160, objects=3, seed=seed)
        made.append(write_scene(Scene(config), folder / f"clip{seed}"))
    return made


def test_each_source_gets_what_it_gets_alone(clips, lite_bundle, tmp_path):
    together = tmp_path / "together"
    words = [word for clip in clips for word in ("--detections", clip.detections)]
    said = run_cli(
        *("track", *(clip.source for clip in clips), *SMALL, *words),
        *("--bundle", lite_bundle.path, "--output", together, "--batch", 2),
    )
    names = short_names([str(clip.source) for clip in clips])
    assert all(name in said for name in names)
    common = report_of(together)
    assert (common["frames"], list(common["sources"])) == (16, names)
    for clip, name in zip(clips, names, strict=True):
        alone = tmp_path / f"alone-{name}"
        run_cli(
            *("track", clip.source, *SMALL, "--detections", clip.detections),
            *("--bundle", lite_bundle.path, "--output", alone),
        )
        assert len(rows_of(alone))
        np.testing.assert_allclose(rows_of(together / name), rows_of(alone), atol=0.02)
        assert report_of(together / name)["frames"] == 8


def test_a_batch_gives_what_single_images_give(lite_runner):
    images = np.random.default_rng(1).integers(0, 256, (3, 96, 160, 3), np.uint8)
    (together,) = lite_runner.run("backbone", images)
    for row in range(3):
        (alone,) = lite_runner.run("backbone", images[row : row + 1])
        assert_within(together[row], alone[0], 2 * network_error(33, 672))


def test_a_camera_that_is_not_there_leaves_the_others_running(clips, lite_bundle, tmp_path):
    output = tmp_path / "out"
    message = run_cli(
        *("track", "camera97", clips[0].source, *SMALL, "--detector", "motion"),
        *("--bundle", lite_bundle.path, "--output", output),
        status=1,
    )
    check_error(message)
    assert "1 of 2 sources" in message
    assert "camera97" in message
    common = report_of(output)["sources"]
    assert common["camera97"]["error"]
    (other,) = set(common) - {"camera97"}
    assert (common[other]["frames"], common[other]["error"]) == (8, None)
    assert not (output / "camera97").exists()


def test_what_is_wrong_from_the_start_ends_it_before_anything_is_written(
    clips, lite_bundle, tmp_path
):
    for sources, words in (
        ((clips[0].source, tmp_path / "none.mp4"), ("--detector", "motion")),
        ([c.source for c in clips], ("--detections", tmp_path / "{name}.txt")),
    ):
        output = tmp_path / "out"
        words = (*SMALL, *words, "--bundle", lite_bundle.path, "--output", output)
        assert "none" in run_cli("track", *sources, *words, status=1) or not output.exists()
        assert not output.exists()


def test_a_source_that_dies_is_reported_and_its_results_stay(clips, lite_bundle, tmp_path):
    """The second folder's fifth image is none."""
    broken = tmp_path / "broken"
    broken.mkdir()
    for number in range(6):
        cv2.imwrite(str(broken / f"{number}.png"), np.zeros((96, 160, 3), np.uint8))
    (broken / "4.png").write_bytes(b"no image")
    output = tmp_path / "out"
    message = run_cli(
        *("track", clips[0].source, broken, *SMALL, "--detector", "motion"),
        *("--bundle", lite_bundle.path, "--output", output),
        status=1,
    )
    assert "4.png: cannot be decoded" in message
    data = json.loads((output / "run.json").read_text())["sources"]
    assert (data["broken"]["frames"], report_of(output / "broken")["frames"]) == (4, 4)
    (other,) = set(data) - {"broken"}
    assert (data[other]["frames"], data[other]["ended_early"]) == (8, None)


@pytest.mark.slow
def test_four_sources_are_no_slower_than_one(lite_bundle, tmp_path):
    """Total throughput of four clips of 320x240 against one of them, best of three each."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core: nothing can run while the backbone works")
    sources = []
    for seed in range(4):
        path = tmp_path / f"clip{seed}.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (320, 240))
        for frame in Scene(SceneConfig(frames=60, height=240, width=320, objects=4, seed=seed)):
            writer.write(frame.image)
        writer.release()
        sources.append(path)
    words = ("--task", "mot", "--mot-height", "240", "--mot-width", "320", "--detector", "motion")
    words += ("--bundle", lite_bundle.path, "--overwrite", "--output")
    fps = {1: [], 4: []}
    for _ in range(3):
        for count, figures in fps.items():
            run_cli("track", *sources[:count], *words, tmp_path / f"out{count}")
            figures.append(report_of(tmp_path / f"out{count}")["fps"])
    assert max(fps[4]) >= max(fps[1])


def test_the_runner_is_the_only_thing_shared(clips, lite_bundle, tmp_path, monkeypatch):
    made = []
    init = GraphRunner.__init__
    monkeypatch.setattr(
        GraphRunner,
        "__init__",
        lambda self, *rest: made.append(self) or init(self, *rest),
    )
    run_cli(
        *("track", *(clip.source for clip in clips), *SMALL, "--detector", "motion"),
        *("--bundle", lite_bundle.path, "--output", tmp_path / "out"),
    )
    assert len(made) == 1


def test_sigterm_finishes_the_frames_in_hand_and_closes_everything(lite_bundle, tmp_path):
    output = tmp_path / "out"
    folders = []
    for row in range(2):
        folder = tmp_path / f"long{row}"
        folder.mkdir()
        image = next(iter(Scene(SceneConfig(frames=2, height=96, width=160)))).image
        for number in range(300):
            cv2.imwrite(str(folder / f"{number:03}.jpg"), image)
        folders.append(folder)
    words = (*folders, *SMALL, "--detector", "motion", "--realtime", "--save-video")
    words += ("--bundle", lite_bundle.path, "--output", output)
    code = "from unitrack_edge.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "track", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        # The video is opened with its first frame.
        ends = time.monotonic() + 60
        while len(list(output.glob("long*/video*"))) < 2 and time.monotonic() < ends:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, errors) == (143, b"")
    assert b"(interrupted)" in said
    assert report_of(output)["interrupted"] is True
    for row in range(2):
        report = report_of(output / f"long{row}")
        assert report["interrupted"] is True
        assert 0 < report["frames"] < 300
        assert len(video_of(output / f"long{row}" / "video.mp4")) == report["frames"]
