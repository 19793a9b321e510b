"""What happens to a live source, kind by kind and fault by fault, alone and beside three others.

Every run ends as documented, without a traceback, and with every frame that came in its results.
"""

import errno
import json
import signal
import threading
import time
from pathlib import Path

import pytest
from unitrack_edge.commands.track import _raise_losses, command
from unitrack_edge.errors import DetectionError, OutputError, RequestError, SourceError
from unitrack_edge.heads.config import MotConfig
from unitrack_edge.runtime import health, pipeline
from unitrack_edge.runtime.formats.otb import OtbWriter
from unitrack_edge.runtime.sources.redact import short_name
from unitrack_edge.runtime.writers.base import output_error
from unitrack_edge.runtime.writers.run_folder import OutputFolder
from unitrack_edge.tracking import service, session
from unitrack_edge.tracking.config import RunConfig, SourceConfig, TrackConfig

from ..support.session_stand_ins import BlindHead, Events, Script, config, stand_in

KINDS = ["camera0", "rtsp://me:secret@host/live", "gst:v4l2src"]
OTHERS = ["camera5", "camera6", "camera7"]
FAULTS = ["absent", "dies", "raises", "stalls", "garbage", "resizes", "returns"]


def attempts(fault):
    """What each attempt to open the source gives; frames it has in all."""
    if fault == "absent":
        return [None, None, Script(3), None], 3
    if fault == "returns":
        return [Script(3), None, Script(3), None], 6
    if fault == "resizes":
        return [Script(3, "resizes"), None], 6
    return [Script(3, fault), None], 3


@pytest.mark.parametrize("beside", [0, 3], ids=["alone", "one-of-four"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_ends_as_documented(kind, fault, beside, tmp_path, monkeypatch):
    rows, frames = attempts(fault)
    others = OTHERS[:beside]
    stand_in(monkeypatch, {kind: rows, **{other: [Script(5), None] for other in others}})
    events = Events()
    asked = config(
        tmp_path / "out",
        kind,
        *others,
        wait_for_source=True,
    )
    report = session.track(asked, listeners=[events])
    name = short_name(kind)
    folder = tmp_path / "out" / name if beside else tmp_path / "out"
    data = json.loads((folder / "run.json").read_text())
    # What comes before the first frame is taken, or while another source has its turn, is dropped.
    assert 1 <= data["frames"] <= frames
    assert "no frame for 500 s (--give-up)" in data["source"]["ended_early"]
    assert data["source"]["outages"] == (2 if fault == "returns" else 1)
    kinds = [what for source, what in events.kinds if source == name]
    assert fault == "absent" or "waiting" not in kinds
    assert ("returned" in kinds) == (fault == "returns")
    assert ("changed" in kinds) == (fault == "resizes")
    assert len((folder / "tracks.txt").read_text().splitlines()) >= data["frames"]
    assert "secret" not in json.dumps(report.data) + json.dumps(events.messages)
    for other in others:
        assert report.data["sources"][other]["frames"] > 0


def test_without_waiting_an_absent_camera_is_an_error_at_once(tmp_path, monkeypatch):
    stand_in(monkeypatch, {"camera0": [None]})
    with pytest.raises(SourceError, match="camera0"):
        session.track(config(tmp_path / "out", "camera0"))
    assert not (tmp_path / "out").exists()


def test_waiting_is_the_default_where_a_run_stands_by_itself(tmp_path):
    def waits(*sources, serve=None, **options):
        asked = config(tmp_path, *sources, run={"serve": serve}, **options)
        return [asked.waits_for(source) for source in asked.sources]

    assert waits("camera0") == [False]
    assert waits("camera0", serve="8080") == [True]
    assert waits("camera0", "rtsp://host/a") == [True, True]
    assert waits("camera0", "clip.mp4") == [False, False]
    assert waits("camera0", "clip.mp4", wait_for_source=True) == [True, False]
    assert waits("camera0", serve="8080", wait_for_source=False) == [False]
    with pytest.raises(RequestError, match="--wait-for-source belongs to cameras"):
        config(tmp_path, "clip.mp4", wait_for_source=True)


@pytest.mark.parametrize(
    ("words", "value"),
    [((), None), (("--wait-for-source",), True), (("--no-wait-for-source",), False)],
)
def test_the_option_says_yes_no_or_nothing(words, value):
    given = command.make_context("track", ["camera0", "--task", "mot", *words])
    assert given.params["wait_for_source"] is value


def test_a_source_that_never_comes_is_given_up_and_leaves_nothing(tmp_path, monkeypatch):
    stand_in(monkeypatch, {"camera0": [None]})
    asked = config(tmp_path / "out", "camera0", wait_for_source=True)
    with pytest.raises(SourceError, match=r"camera0.*\(--give-up 500\)"):
        session.track(asked)
    assert not (tmp_path / "out").exists()


def test_a_stop_before_any_source_came_leaves_nothing(tmp_path, monkeypatch):
    stand_in(monkeypatch, {"camera0": [None]})
    asked = config(tmp_path / "out", "camera0", wait_for_source=True, give_up_s=None)

    def ready(_service, _stop):
        # From here on, signals are listened to.
        threading.Timer(0.02, signal.raise_signal, (signal.SIGTERM,)).start()

    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    monkeypatch.setattr(service.ServiceNotifier, "ready", ready)
    report = session.track(asked)
    assert report.data["interrupted"]
    assert not (tmp_path / "out").exists()


def test_a_stop_says_what_never_came(tmp_path, monkeypatch):
    stand_in(monkeypatch, {"camera0": [None], "camera1": [Script(2), None]})

    class Stop(Events):
        def on_frame(self, event):
            super().on_frame(event)
            if self.frames == 1:
                signal.raise_signal(signal.SIGHUP)

    asked, events = config(tmp_path / "out", "camera0", "camera1", give_up_s=None), Stop()
    # Under `nohup`, which makes a run deaf to it, as anywhere else.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        report = session.track(asked, listeners=[events])
    finally:
        signal.signal(signal.SIGHUP, before)
    waiting = events.messages[events.kinds.index(("camera0", "waiting"))]
    assert waiting.endswith("; waiting for it")
    assert "camera0" not in waiting
    assert report.data["interrupted"]
    early = report.data["sources"]["camera0"]["ended_early"]
    assert early.startswith("camera0 never came: ")
    assert early.count("camera0") == 1
    assert report.data["sources"]["camera1"]["frames"] > 0
    assert json.loads((tmp_path / "out" / "run.json").read_text()) == report.data


def test_what_is_wrong_with_a_source_that_is_there_is_not_waited_for(tmp_path, monkeypatch):
    stand_in(monkeypatch, {"camera0": [None]})
    with pytest.raises(RequestError, match="leave out --fps"):
        config(tmp_path / "out", "camera0", wait_for_source=True, fps=25.0)


def test_frames_that_a_full_disk_takes_are_counted_said_and_end_with_status_1(
    tmp_path, monkeypatch
):
    full = iter([False, True, False])

    def write(self, frame, tracks):
        if next(full, False):
            error = OSError(errno.ENOSPC, "No space left on device")
            raise output_error(self._path, error, self._frames)
        return real(self, frame, tracks)

    real = OtbWriter.write
    monkeypatch.setattr(OtbWriter, "write", write)
    stand_in(monkeypatch, {"camera0": [Script(60), None]})
    events = Events()
    report = session.track(config(tmp_path / "out", "camera0"), listeners=[events])
    data = report.data
    assert data["lost_frames"] == {"tracks.txt": data["frames"] - 1}
    assert data["frames"] > 2
    assert any("disk full" in message for message in events.messages)
    assert any("are not in tracks.txt" in note for note in report.notes)
    with pytest.raises(OutputError, match=r"frames are not in .*out/tracks\.txt"):
        _raise_losses(report, 0)
    with pytest.raises(OutputError, match="7 lines are not in --jsonl"):
        _raise_losses(report, 7)


def test_two_runs_at_once_into_one_folder(tmp_path, monkeypatch):
    stand_in(monkeypatch, {"camera0": [Script(3), None]})
    first = OutputFolder(tmp_path / "out")
    asked = config(tmp_path / "out", "camera0", run={"overwrite": True})
    with pytest.raises(OutputError, match="in use by another run"):
        session.track(asked)
    first.close()
    stand_in(monkeypatch, {"camera0": [Script(3), None]})
    assert session.track(asked).data["frames"] > 0


def test_a_hundred_returns_leave_no_thread_and_no_descriptor(tmp_path, monkeypatch):
    rows = [Script(2) for _ in range(101)]
    stand_in(monkeypatch, {"camera0": [*rows, None]})
    threads, most = threading.active_count(), 0

    class Count(Events):
        def on_source(self, event):
            nonlocal most
            super().on_source(event)
            most = max(most, threading.active_count())

    events = Count()
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    report = session.track(config(tmp_path / "out", "camera0"), listeners=[events])
    assert report.data["source"]["outages"] == 101
    assert events.kinds.count(("camera0", "returned")) == 100
    assert all(script.released.is_set() for script in rows)
    # The reader of a connection that has just been left, the new one, and who watches them.
    assert most <= threads + 4
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_a_model_that_does_not_load_is_said_before_the_camera_comes(tmp_path, monkeypatch):
    stand_in(monkeypatch, {"camera0": [None]})
    asked = TrackConfig(
        (SourceConfig("camera0", wait_for_source=True, detections=tmp_path / "absent.txt"),),
        (MotConfig(),),
        RunConfig(output=tmp_path / "out"),
    )
    with pytest.raises(DetectionError, match=r"absent\.txt"):
        session.track(asked)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("degrade", [True, False])
def test_a_run_that_does_not_keep_up_says_so_at_once_and_in_its_report(
    degrade, tmp_path, monkeypatch
):
    stand_in(monkeypatch, {"camera0": [Script(60), None]})
    monkeypatch.setattr(health, "_WINDOW_S", 0.05)
    monkeypatch.setattr(pipeline, "IMAGES_EVERY_S", 0.0)
    step = BlindHead.step

    def slow_step(*given):
        time.sleep(0.02)  # a frame comes every 4 ms
        return step(*given)

    monkeypatch.setattr(BlindHead, "step", slow_step)
    events = Events()
    asked = config(tmp_path / "out", "camera0", run={"degrade": degrade})
    report = session.track(asked, listeners=[events])
    lines = [message for message in events.messages if "does not keep up" in message]
    assert len(lines) == 1
    assert ("nothing is left to reduce" in lines[0]) == degrade
    assert ("--degrade" in lines[0]) != degrade
    assert any(lines[0] in note for note in report.notes)
    pace = {"detect_every": 1, "image_scale": 1.0, "steps_down": 0, "steps_up": 0}
    assert report.data["pace"] == pace
    assert report.data["config"]["run"].get("degrade", True) == degrade
