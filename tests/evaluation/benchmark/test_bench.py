"""`cli bench`: the figures by hand, who takes turns with whom, sensors, and the command."""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from unitrack_edge.errors import ExportError, SourceError
from unitrack_edge.evaluation.benchmark.defaults import measure_overlap, stage_seconds
from unitrack_edge.evaluation.benchmark.figures import noise_notes, ratio, side_figures, spread
from unitrack_edge.evaluation.benchmark.measure import BenchRequest, Side, interleave
from unitrack_edge.evaluation.benchmark.sensors import Reading, find_sensor
from unitrack_edge.evaluation.benchmark.workload import (
    TASKS,
    EndlessClip,
    Given,
    make_task_runner,
    scene_workload,
    there_and_back,
)
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.events import StopRequest
from unitrack_edge.runtime.head import NOTHING
from unitrack_edge.runtime.pipeline import TaskRunner
from unitrack_edge.runtime.tables import TextTable, markdown
from unitrack_edge.tracking.report import peak_memory_mb

from ...support.command_line import check_error, run_cli


def frames_of(latencies_ms):
    """Frames that spend a quarter of their time in one stage."""
    return [
        {"read": 0.0, "backbone": ms / 4e3, "latency": ms / 1e3, "write": 0.0}
        for ms in latencies_ms
    ]


# Figures.


def test_the_figures_of_a_side_by_hand():
    figures = side_figures([frames_of([10, 20, 30]), frames_of([40, 50])])
    assert figures.stages_ms["latency"]["p50"] == pytest.approx(30)
    # Linear between the two largest of five: 40 + 0.8 * 10 at p95.
    assert figures.stages_ms["latency"]["p95"] == pytest.approx(48)
    assert figures.stages_ms["latency"]["p99"] == pytest.approx(49.6)
    assert figures.stages_ms["backbone"]["best"] == pytest.approx(2.5)
    assert set(figures.stages_ms) == {"backbone", "latency"}
    assert figures.fps == pytest.approx(1000 / 30)
    assert figures.jitter_ms == pytest.approx(10)
    assert figures.rounds_ms == pytest.approx((20, 45))
    assert figures.spread == pytest.approx(25 / 32.5)


def test_what_disturbs_both_sides_alike_leaves_their_ratio():
    disturbed = np.array([1, 1, 3, 3, 3, 3, 9, 1, 1, 2])
    slow, fast = ([frames_of(base * disturbed)] for base in (20.0, 10.0))
    assert ratio(slow, fast).value == pytest.approx(2.0)
    # A hiccup of one side alone is beyond the median.
    slow[0][4]["latency"] *= 50
    assert ratio(slow, fast).value == pytest.approx(2.0)


def test_ratios_are_of_the_base_over_the_side():
    assert ratio([frames_of([30, 30])], [frames_of([10, 10])]).value == pytest.approx(3.0)


@pytest.mark.parametrize(("rounds", "noisy"), [([10, 10.5, 10.9], False), ([10, 10.5, 11.5], True)])
def test_it_says_when_the_machine_was_too_noisy(rounds, noisy):
    figures = {"cpu": side_figures([frames_of([value] * 3) for value in rounds])}
    assert (spread(rounds) > 0.1) == noisy
    notes = noise_notes(figures, {}, "cpu")
    assert bool(notes) == noisy
    assert not noisy or "too noisy to conclude how long cpu takes" in notes[0]


def test_a_noisy_ratio_is_named_too():
    quiet, wild = ([frames_of([value] * 2) for value in values] for values in ([9, 9], [9, 18]))
    ratios = {"cpu": ratio(quiet, wild)}
    figures = {name: side_figures(quiet) for name in ("cpu", "pytorch")}
    assert "how cpu compares with pytorch" in noise_notes(figures, ratios, "pytorch")[0]


# Turns.


class Walker:
    """Stands in for a runner: writes down when it was its turn."""

    def __init__(self, name, turns):
        self.name, self.turns, self.frames = name, turns, []

    def advance(self, _stop):
        self.turns.append(self.name)
        self.frames.append({"latency": float(len(self.turns))})

    def take(self):
        taken, self.frames = self.frames, []
        return taken


def test_sides_take_turns_and_the_warm_up_does_not_count():
    turns = []
    sides = tuple(Side(name, None, "cpu") for name in "ab")
    request = BenchRequest("mot", sides, rounds=2, frames=3, warm_up=2)
    walkers = [Walker(name, turns) for name in "ab"]
    measured = interleave(walkers, request, StopRequest())
    assert "".join(turns) == "baab" * 4
    assert {name: [len(one) for one in rounds] for name, rounds in measured.items()} == {
        "a": [3, 3],
        "b": [3, 3],
    }
    # The first counted turns are the fifth and sixth.
    assert {rounds[0][0]["latency"] for rounds in measured.values()} == {5.0, 6.0}


# Frames.


def test_there_and_back():
    assert [there_and_back(i, 4) for i in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert [there_and_back(i, 1) for i in range(3)] == [0, 0, 0]


def test_an_endless_clip_and_its_detections_stay_together():
    workload = scene_workload(3, (96, 128), 2)
    clip, given = EndlessClip(workload), Given(workload.detected["mot"])
    frames = [next(clip) for _ in range(6)]
    assert [frame.index for frame in frames] == list(range(6))
    for frame, place in zip(frames, (0, 1, 2, 1, 0, 1), strict=True):
        assert frame.image is workload.frames[place].image
        assert given.detect(frame) is workload.detected["mot"][place]
    assert workload.objects("sot") == 1
    assert workload.objects("vos") == len(np.unique(workload.labels)) - 1


def test_a_workload_needs_somebody_to_track():
    with pytest.raises(SourceError, match="1 object or more"):
        scene_workload(3, (96, 128), 0)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_lane(task, tiny):
    task_runner = make_task_runner(task, tiny, scene_workload(2, (96, 128), 2), (96, 128))
    assert (task_runner.detector is not None) == task_runner.head.needs_detections
    if task_runner.head.needs_features:
        assert task_runner.head.network_hw((96, 128)) == (96, 128)


# Sensors.


def write_files(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_jetson_reports_power_and_heat(tmp_path):
    monitor = "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    files = {
        f"{monitor}/in1_label": "VDD_CPU\n",
        f"{monitor}/in1_input": "5000\n",
        f"{monitor}/curr1_input": "100\n",
        f"{monitor}/in2_label": "VDD_IN\n",
        f"{monitor}/in2_input": "19000\n",
        f"{monitor}/curr2_input": "500\n",
        "class/thermal/thermal_zone0/temp": "41500\n",
        "class/thermal/thermal_zone1/temp": "-256000\n",
        "class/thermal/thermal_zone2/temp": "out of order\n",
    }
    write_files(tmp_path, files)
    assert find_sensor(gpu=False, root=tmp_path)() == Reading(9.5, 41.5, None)


def test_a_machine_without_sensors_reports_nothing(tmp_path):
    assert find_sensor(gpu=False, root=tmp_path)() == Reading()


class NVMLError(Exception):
    pass


def test_a_gpu_reports_what_it_can(monkeypatch):
    def refuse(_device):
        raise NVMLError

    library = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda number: f"gpu{number}",
        nvmlDeviceGetPowerUsage=refuse,
        nvmlDeviceGetTemperature=lambda _device, _kind: 55,
        nvmlDeviceGetMemoryInfo=lambda _device: SimpleNamespace(used=2_500_000_000),
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert find_sensor(gpu=True)() == Reading(None, 55.0, 2500.0)


def test_peak_memory_is_the_process_own(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t 900000 kB\nVmHWM:\t  500000 kB\n")
    assert peak_memory_mb(status) == 512.0
    assert peak_memory_mb() > 20


def test_markdown_sets_numbers_to_the_right():
    text = markdown(TextTable(("a|b", "n"), [("x", "1.0")]))
    assert text == "| a\\|b | n |\n| --- | ---: |\n| x | 1.0 |\n"


# The defaults, and stages that overlap.


def test_stages_are_those_before_the_backbone_and_those_from_it_on():
    frames = [
        {"read": 1.0, "detect": 2.0, "letterbox": 3.0, "backbone": 4.0, "latency": 9.0},
        {"read": 1.0, "backbone": 6.0, "head": 2.0, "write": 2.0, "latency": 9.0},
    ]
    # (6 + 1) / 2 and (4 + 10) / 2.
    assert stage_seconds(frames) == (3.5, 7.0)


class Asleep:
    """A head or detector that takes its time and nothing of the processor's."""

    needs_detections, needs_features, asks_ahead = True, False, True
    backbone_pixels = 0
    class_names = None

    def request(self, _frame, _detections=None):
        return NOTHING

    def detect(self, _frame):
        time.sleep(0.03)
        return Detections.empty()

    def step(self, frame, _features, _detections=None):
        time.sleep(0.03)
        return Tracks(frame.index, np.zeros(0, np.int64))


def test_overlap_reaches_what_the_slower_stage_allows():
    graphs = SimpleNamespace(on_device=False, spec=SimpleNamespace(stride=8, sizes_hw=()))
    workload = scene_workload(2, (64, 64), 2, ())
    request = BenchRequest("mot", (), rounds=2, frames=6, warm_up=0)

    def make():
        return TaskRunner("mot", Asleep(), Asleep(), [])

    found = measure_overlap(graphs, make, workload, request, StopRequest())
    assert found.ahead_ms >= 30
    assert found.behind_ms >= 30
    # One frame after the other reaches half of what either stage does alone.
    assert found.reached > 0.7
    assert found.faster > 1.4


def test_what_cannot_overlap_is_not_measured():
    class Focused(Asleep):
        asks_ahead = False

    made = TaskRunner("vos", Focused(), None, [])
    request = BenchRequest("vos", (), rounds=2, frames=6)
    assert measure_overlap(None, lambda: made, None, request, StopRequest()) is None


# The command.


@pytest.fixture(scope="module")
def measured(lite_bundle, tmp_path_factory):
    """One small run with everything it can write: what it said, and the folder."""
    folder = tmp_path_factory.mktemp("bench")
    said = run_cli(
        *("bench", lite_bundle.path, "--task", "mot", "--size", "64x96", "--objects", "2"),
        *("--against", "pytorch", "--rounds", "2", "--frames", "2", "--threads", "1"),
        *("--json-file", folder / "all.json", "--markdown-file", folder / "tables.md"),
        *("--plot", folder / "latency.png"),
    )
    return said, folder


def test_both_sides_are_measured_in_the_same_run(measured, lite_bundle):
    data = json.loads((measured[1] / "all.json").read_text())
    assert set(data["sides"]) == {"cpu", "pytorch (cpu)"}
    for side in data["sides"].values():
        stages = side["stages_ms"]
        assert list(stages) == ["letterbox", "backbone", "head", "latency"]
        parts = sum(stages[name]["best"] for name in ("letterbox", "backbone", "head"))
        assert 0 < parts <= stages["latency"]["best"] * 1.01
        assert len(side["latencies_ms"]) == 4
        assert side["fps"] > 0
        assert side["memory_mb"] > 50
    used = {"backbone", "box_features", "select", "rsm"}
    files = data["sides"]["cpu"]["model_bytes"]
    assert files == sum(lite_bundle.spec.graphs[name].size_bytes for name in used)
    assert data["sides"]["pytorch (cpu)"]["in_use"]["backbone"].startswith("PyTorch")
    assert data["sides"]["cpu"]["in_use"]["backbone"] == "CPUExecutionProvider"
    assert data["base"] == "pytorch (cpu)"
    assert data["ratios"]["cpu"]["value"] > 0
    assert data["conclusive"] == (not data["notes"])
    saved, roofline = (data["sides"]["cpu"][name] for name in ("defaults", "roofline"))
    # Whole frames of 64 x 96 in every frame, against tiles of those that are compared.
    assert 0 <= saved["pixels"] < 1
    assert 0 <= saved["without_backbone"] <= 1
    assert data["sides"]["cpu"]["overlap"]["reached"] > 0
    assert roofline["image_shape"] == [1, 64, 96]
    assert roofline["gflop"] > 0
    assert data["sides"]["pytorch (cpu)"]["defaults"] is None


def test_terminal_and_markdown_show_the_same_figures(measured):
    said, folder = measured
    text = (folder / "tables.md").read_text()
    data = json.loads((folder / "all.json").read_text())
    for shown in (said, text):
        assert "capture to result" in shown
        assert "frames without it" in shown
        assert f"{data['sides']['cpu']['roofline']['gflop']:.2f}" in shown
        assert f"{data['sides']['cpu']['fps']:.1f}" in shown
        assert f"{data['ratios']['cpu']['value']:.2f}×" in shown
    assert (folder / "latency.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "mot", "--source", "x.mp4", "--size", "64x96"), "--size"),
        (("--task", "sot", "--objects", "3"), "leave out --objects"),
        (("--task", "vos", "--detector", "motion"), "mot|mots|posetrack"),
        (("--task", "mot", "--weights", "w.pth"), "--against pytorch"),
        (("--task", "mot", "--plot", "image.txt"), ".png"),
        (("--task", "mot", "--size", "64"), "HEIGHTxWIDTH"),
        (("--task", "mot", "--backend", "abacus"), "abacus"),
    ],
)
def test_wrong_usage_is_one_line(arguments, words, tmp_path):
    said = run_cli("bench", tmp_path / "none", *arguments, status=2)
    check_error(said)
    assert words in said


def test_a_bundle_that_is_not_there(tmp_path):
    assert "cli export" in run_cli("bench", tmp_path / "none", "--task", "mot", status=1)


def test_a_size_that_the_bundle_does_not_take(tmp_path):
    pytest.importorskip("onnx")
    from ...support.models.tiny_bundle import write_tiny_bundle

    bundle = write_tiny_bundle(tmp_path / "tiny")
    said = run_cli("bench", bundle.path, "--task", "mot", "--size", "96x96", status=2)
    assert "takes 64x96" in said


def test_pytorch_takes_the_weights_of_the_bundle_and_no_others(tmp_path):
    pytest.importorskip("torch")
    from dataclasses import replace

    from unitrack_edge.evaluation.parity.torch import load_network

    from ...support.models.tiny_bundle import write_tiny_bundle

    bundle = write_tiny_bundle(tmp_path / "tiny")
    owned = {"file": "mine.pth", "url": None, "sha256": "ab" * 32}
    spec = replace(bundle.spec, backbone="imagenet-r18", weights=owned)
    owned_bundle = replace(bundle, spec=spec)
    with pytest.raises(ExportError, match=r"mine\.pth .*--weights FILE"):
        load_network(owned_bundle)
    with pytest.raises(ExportError, match="no such file"):
        load_network(owned_bundle, tmp_path / "absent.pth")
    # Random weights have no sha256, so a bundle that records one was made from something else.
    other = replace(bundle, spec=replace(spec, backbone="random-r18"))
    with pytest.raises(ExportError, match=r"drawn at random .* mine\.pth"):
        load_network(other)
