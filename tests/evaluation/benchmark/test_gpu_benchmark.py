"""The GPU benchmark, tried on the CPU at small sizes: times, turns, agreement, who was absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from unitrack_edge.benchmarks.eager import EagerBackbone, EagerGraphs, EagerPropagator, roi_align
from unitrack_edge.benchmarks.gpu import compare, profile, timing
from unitrack_edge.benchmarks.gpu.arms import ARMS, Setup
from unitrack_edge.benchmarks.gpu.ceilings import backbone_flops
from unitrack_edge.benchmarks.gpu.frames import EXACT, HALF, VosAgreement
from unitrack_edge.benchmarks.gpu.report import provenance, record_of, result_name
from unitrack_edge.benchmarks.gpu.tasks import Plan, vos_task
from unitrack_edge.benchmarks.gpu.timing import (
    FRAME,
    Contestant,
    DeviceStopwatch,
    Rounds,
    percentiles_ms,
    race,
)
from unitrack_edge.benchmarks.speed.mot import cost_of_objects
from unitrack_edge.benchmarks.style import PLAIN, Style, as_array
from unitrack_edge.benchmarks.timing import machine
from unitrack_edge.errors import BackendError
from unitrack_edge.export.backbones.table import find_backbone
from unitrack_edge.export.backbones.weight_files import backbone_file
from unitrack_edge.heads.config import VosConfig

SMALL = {"source_hw": (180, 320), "mot_hw": (96, 160), "vos_hw": (64, 112), "objects": 6}


class FakeDevice:
    """A clock, and work that was given to a device and waits to be done."""

    def __init__(self):
        self.now, self.queued, self.waits = 0.0, 0.0, 0

    def synchronize(self):
        self.now += self.queued
        self.queued = 0.0
        self.waits += 1


@pytest.fixture
def device(monkeypatch):
    fake = FakeDevice()
    clock = type("Clock", (), {"perf_counter": staticmethod(lambda: fake.now)})
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr("unitrack_edge.benchmarks.timing.time", clock)
    return fake


@pytest.fixture(scope="module")
def plan(lite_bundle):
    weights = backbone_file(find_backbone("efficientnet-lite0"))
    setup = Setup("cpu", "efficientnet-lite0", weights, lite_bundle, 1, VosConfig())
    arms = ("eager", "half", "ort-cpu", "ort-cuda")
    return Plan(setup, Rounds(1, 2, 2, 1), arms, ("mot", "vos"), **SMALL)


@pytest.fixture(scope="module")
def measured(plan):
    return compare.measure(plan)


def _frame(device, watch):
    with watch.stage("first"):
        device.now += 1
        device.queued += 10
    with watch.stage("second"):
        device.now += 2
        device.queued += 20
    return watch.take()


def test_a_stage_is_charged_with_the_work_it_queued(device):
    device.queued = 1000.0  # of an earlier frame
    watch = DeviceStopwatch(device.synchronize)
    watch.staged = True
    stages = _frame(device, watch)
    assert stages == {"first": 11, "second": 22, FRAME: 33}


def test_a_whole_frame_is_waited_for_at_its_ends_only(device):
    device.queued = 1000.0
    watch = DeviceStopwatch(device.synchronize)
    assert _frame(device, watch)[FRAME] == 33
    assert device.waits == 2
    assert _frame(device, watch)[FRAME] == 33  # and starts over


def test_contestants_take_turns_and_warm_up_does_not_count():
    calls = []

    def contestant(name):
        watch = DeviceStopwatch(lambda: None)

        def frame(number):
            calls.append((name, number, watch.staged))
            return {"work": 1.0, FRAME: float(number)}

        return Contestant(watch, frame, lambda: calls.append((name, "backbone", None)))

    events = []
    samples = race(
        {name: contestant(name) for name in "ab"},
        Rounds(warm_up=1, counted=2, burst=1, repeats=1),
        lambda: None,
        before_round=lambda: events.append(len(calls)),
        after_warm_up=lambda: events.append(("compared", len(calls))),
    )
    one_round = [
        [(name, number, False), (name, number + 1, True), (name, "backbone", None)]
        for number in (1, 3, 5)
        for name in "ab"
    ]
    assert calls == [call for turn in one_round for call in turn]
    assert events == [("compared", 6), 6, 12]
    assert samples["a"].frames == samples["b"].frames == [3.0, 5.0]
    assert samples["a"].stages == [{"work": 1.0}] * 2


def test_percentiles_are_in_milliseconds():
    assert percentiles_ms([n / 1000 for n in range(101)]) == [50.0, 95.0, 99.0]


def test_flops_are_those_of_the_definition():
    layer = torch.nn.Conv2d(3, 8, 3, padding=1)
    assert backbone_flops(layer, (10, 12)) == 2 * 3 * 8 * 9 * 10 * 12
    resnet = EagerBackbone("random-r18", None).network
    assert backbone_flops(resnet, (608, 1088)) / 2e9 == pytest.approx(34.7, abs=0.1)


def test_all_arms_that_are_here_agree_in_both_tasks(measured):
    results, ceilings = measured
    assert set(results) == {"mot", "vos"}
    for result in results.values():
        assert set(result.agreements) == {"half", "ort-cpu"}
        assert result.agrees, result.agreements
        for name, samples in result.samples.items():
            # The reference raced with either of the two others.
            races = 2 if name == "eager" else 1
            assert len(samples.frames) == len(samples.stages) == 4 * races
            assert len(samples.backbone) == 2 * races
            assert len(result.references.get(name, samples).frames) >= 4
    assert list(results["mot"].samples["ort-cpu"].stages[0]) == [
        "letterbox",
        "backbone",
        "boxes",
        "rsm",
        "host",
    ]
    assert ceilings.flops > 0 < ceilings.bytes_per_s


def test_arms_that_are_not_here_are_listed_with_the_reason(measured):
    absent = measured[0]["mot"].absent
    assert absent["compile"] == "left out by --arm"
    assert absent["ort-cuda"] == "not compared on --device cpu"
    assert set(absent) == {"compile", "ort-cuda", "tensorrt", "tensorrt-rtx"}


def test_an_arm_that_fails_in_one_task_is_absent_from_it_alone(plan, monkeypatch):
    def without_vos(setup):
        arm = ARMS["half"].open(setup)

        def fails(_):
            raise BackendError("shape outside\nthe profile")

        vos = arm.vos
        monkeypatch.setattr(arm, "vos", lambda: replace(vos(), features=fails))
        return arm

    row = ARMS["ort-cpu"]
    monkeypatch.setitem(ARMS, "ort-cpu", replace(row, open=without_vos))
    rounds = Rounds(1, 1, 1, 1)
    results, _ = compare.measure(replace(plan, rounds=rounds, arms=("ort-cpu",)))
    assert "ort-cpu" in results["mot"].samples
    assert results["vos"].absent["ort-cpu"] == "shape outside the profile"


def test_results_are_kept_after_every_arm(plan):
    """The third arm fails so badly that nothing catches it; what was measured before is there."""
    kept = []

    def keep(results, ceilings):
        kept.append(json.loads(json.dumps(record_of(plan.rounds, results, ceilings))))
        if len(kept) == 2:
            raise KeyboardInterrupt

    quick = replace(plan, rounds=Rounds(1, 1, 1, 1), tasks=("mot",))
    with pytest.raises(KeyboardInterrupt):
        compare.measure(quick, keep)
    assert [list(data["tasks"]["mot"]["arms"]) for data in kept] == [
        ["eager", "half"],
        ["eager", "half", "ort-cpu"],
    ]


@pytest.mark.parametrize(
    "task",
    ["mots", *(pytest.param(task, marks=pytest.mark.slow) for task in ("posetrack", "pose"))],
)
def test_the_other_tasks_are_measured_as_whole_pipelines(plan, task):
    quick = replace(plan, rounds=Rounds(1, 1, 1, 1), tasks=(task,), source_hw=(96, 160))
    results, _ = compare.measure(replace(quick, arms=("half", "ort-cpu")))
    result = results[task]
    assert result.absent["half"] == "of this style only mot and vos are written"
    assert list(result.samples["ort-cpu"].stages[0]) == ["letterbox", "backbone", "head"]
    assert result.agreements["ort-cpu"] == (result.agreements["ort-cpu"][0], True)
    assert "100.0% of" in result.agreements["ort-cpu"][0]


def test_all_six_tasks_are_on_the_table():
    from unitrack_edge.evaluation.benchmark.workload import TASKS

    assert set(compare.TASKS) == set(TASKS) == set(Plan.__dataclass_fields__["tasks"].default)


def test_a_profile_is_counted_by_what_cupti_calls_things():
    """Names as PyTorch's profiler lists them: CUPTI's calls, and kernels as their library names
    them."""
    on_gpu = [
        "Memcpy HtoD (Pinned -> Device)",
        "Memset (Device)",
        "void cask::conv<float>",
        "sm90_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc",
        "ampere_h16816gemm_128",
    ]
    on_host = [
        "aten::conv2d",
        "cudaLaunchKernel",
        "cuLaunchKernelEx",
        "cudaGraphLaunch",
        "cudaMemcpyAsync",
        "cudaStreamSynchronize",
        "cudaDeviceSynchronize",
        "cudaMalloc",
    ]
    found = profile.count(on_gpu, on_host, own_waits=1)
    assert found == profile.FrameCounts(3, 2, 3, 1, 1)
    assert found.describe() == ("3 kernels (2 of float16 by name), 3 launches, 1 copies, 1 waits")
    assert profile.profile(lambda: 1 / 0, "cpu") is None


def test_a_benchmark_runs_from_a_checkout_that_is_not_installed(tmp_path):
    """Its folder is called as it likes, and nothing is on Python's path."""
    checkout = tmp_path / "some-checkout"
    checkout.symlink_to(Path(compare.__file__).parents[2])
    run = [sys.executable, str(checkout / "benchmarks" / "run.py")]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    said = subprocess.run(run, capture_output=True, text=True, env=clean, cwd=tmp_path, check=False)
    assert said.returncode == 2
    assert "which one? cli, gpu, gpu.device, accuracy.appearance, " in said.stderr
    assert "Traceback" not in said.stderr
    unknown = [*run, "soak"]
    said = subprocess.run(
        unknown, capture_output=True, text=True, env=clean, cwd=tmp_path, check=False
    )
    assert (said.returncode, said.stderr.splitlines()[1:]) == (2, [])
    assert "endurance.soak" in said.stderr
    said = subprocess.run(
        [*run, "cli", "--version"],
        capture_output=True,
        text=True,
        env=clean,
        cwd=tmp_path,
        check=False,
    )
    assert (said.returncode, said.stdout.split()[0]) == (0, "unitrack-edge,"), said.stderr
    # Processes that it starts must find the package too: `cli bench` measures memory in some.
    (checkout.parent / "spawned.py").write_text("import unitrack_edge; print('found')")
    code = (
        "import subprocess, sys, runpy; from pathlib import Path\n"
        f"run = runpy.run_path({str(run[1])!r}, run_name='run')\n"
        "import importlib; real = importlib.import_module\n"
        "class Module:\n"
        "    def main(): return subprocess.run([sys.executable, 'spawned.py']).returncode\n"
        "run['main'].__globals__['import_module'] = lambda _: Module\n"
        "sys.exit(run['main'](['cli']))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=clean,
        cwd=tmp_path,
        check=False,
    )
    assert (said.returncode, said.stdout) == (0, "found\n"), said.stderr


def test_a_report_has_every_figure(measured):
    results, ceilings = measured
    lines = compare.report(results, ceilings, judged=True)
    text = "\n".join(lines)
    for title in ("PyTorch eager FP32", "PyTorch FP32 channels-last", "ONNX Runtime CPU FP32"):
        assert f"backbone alone, {title}: " in text
    assert text.count("p50") == text.count("p95") == text.count("p99") == 6
    assert text.count("targets, ONNX Runtime CPU FP32: frame ") == 2
    assert lines[-1].startswith("ceilings: ")


def test_what_is_kept_says_where_it_was_measured(plan, measured):
    gpu_facts = {"name": "A GPU", "capability": "sm90", "torch_cuda": "13.0", "cudnn": "9"}
    record = {"machine": machine(2), "gpu": gpu_facts, **record_of(plan.rounds, *measured)}
    kept = json.loads(json.dumps(record))
    stages = kept["tasks"]["vos"]["arms"]["ort-cpu"]["percentiles_ms"]
    assert list(stages) == ["letterbox", "backbone", "propagation", "labels", FRAME]
    assert kept["tasks"]["mot"]["absent"]["tensorrt"]
    line = provenance(record)
    assert line.startswith(f"{record['machine']['date']}; A GPU (sm90), driver ?; ")


def test_without_a_gpu_it_says_so_in_one_line(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert compare.main(["--backbone", "random-r18"]) == 1
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    assert error.startswith("Error: no CUDA GPU here")


@pytest.mark.parametrize(
    "flags", [["--device", "cpu", "--save"], ["--rounds", "0"], ["--arm", "unknown"]]
)
def test_wrong_usage_is_refused(flags, capsys):
    with pytest.raises(SystemExit) as exit_info:
        compare.main(flags)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err.startswith("Error: ")


def test_a_bundle_of_another_backbone_is_refused(random_resnet, shared_models, capsys):
    weights = str(shared_models / "resnet18_imagenet_layer3.pth")
    flags = ["--device", "cpu", "--bundle", str(random_resnet.path), "--weights", weights]
    assert compare.main(flags) == 1
    assert "give --backbone random-r18" in capsys.readouterr().err


def test_other_labels_are_no_agreement(plan):
    task = vos_task(plan)
    agreement = VosAgreement()
    side = type("Side", (), {"points": np.zeros((2, 3)), "labels": np.zeros((10, 10), int)})
    other = type("Side", (), {"points": np.zeros((2, 3)), "labels": np.eye(10, dtype=int)})
    agreement.add(side, side)
    assert task.holds(agreement, EXACT)
    agreement.add(side, other)
    assert not task.holds(agreement, HALF)


def test_costs_are_those_of_the_objects_and_not_of_what_stacks_are_filled_up_with():
    """A GPU's graphs give a row for both, PyTorch's only for the objects."""
    cost = np.arange(12, dtype=np.float32).reshape(3, 4)
    masks = np.ones((3, 2), np.float32), np.ones((4, 2), np.float32)
    masks[0][2], masks[1][3] = 0, 0
    np.testing.assert_array_equal(
        cost_of_objects(cost, None, masks[0], None, masks[1]), cost[:2, :3]
    )


def test_results_are_named_after_the_gpu():
    assert result_name({"name": "NVIDIA H100 80GB HBM3"}) == "gpu_nvidia_h100_80gb_hbm3"


def _everything(style, image, boxes):
    """Features, labels of the third frame, and costs of all boxes among themselves."""
    backbone = EagerBackbone("random-r18", None, style)
    features = backbone(image)
    rows, cols = features.shape[2:]
    propagator = EagerPropagator(
        rows, cols, top_k=5, temperature=0.05, radius=3, memory=2, style=style
    )
    labels = np.eye(2, dtype=np.float32)[(np.arange(rows * cols) % cols > cols // 2).astype(int)]
    propagator.start(features, labels)
    for shift in (8, 16):
        labels = propagator.step(backbone(np.roll(image, shift, axis=1)))
    points = as_array(roi_align(features, boxes, stride=8, output_hw=(2, 3)))
    ones, scale = np.ones((len(boxes), 6), np.float32), np.array([100.0], np.float32)
    (cost,) = EagerGraphs(style).run("rsm", points, ones, points, ones, scale)
    return features.float().numpy(), labels, np.minimum(cost, 0.8)


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return image, np.array([[4, 4, 40, 60], [30, 10, 90, 50]], np.float32)


def test_float16_changes_little(image):
    exact = _everything(PLAIN, *image)
    half = _everything(Style(dtype=torch.float16, channels_last=True, block=7), *image)
    features, labels, costs = (np.abs(one - two) for one, two in zip(exact, half, strict=True))
    assert 0 < features.max() <= HALF.features
    assert 0 < costs.max() <= HALF.costs
    # Where two keys are equally near, either may be the last one that is kept.
    assert np.median(labels) < 1e-3
    assert 0 < labels.mean() < 0.01


def test_compiled_functions_are_each_one_graph_and_compute_the_same(image):
    # The tracer alone, without a compiler behind it; fullgraph makes any break an error.
    def wrap(function):
        return torch.compile(function, backend="eager", fullgraph=True, dynamic=False)

    exact = _everything(PLAIN, *image)
    compiled = _everything(Style(wrap=wrap), *image)
    for one, other in zip(exact, compiled, strict=True):
        np.testing.assert_array_equal(one, other)
