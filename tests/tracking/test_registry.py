"""What a new task and a new option cost: one row, one field, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import ClassVar

import click
import numpy as np
import pytest
from click.testing import CliRunner
from unitrack_edge.commands import track as track_command
from unitrack_edge.commands.options.track import config_from, config_options
from unitrack_edge.evaluation.synthetic.files import write_scene
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.heads.config import TaskConfig
from unitrack_edge.records import Tracks
from unitrack_edge.runtime.head import Head
from unitrack_edge.tracking.config import RunConfig, option
from unitrack_edge.tracking.registry import TASKS, TaskSpec


@dataclass(frozen=True, slots=True)
class CountConfig(TaskConfig):
    """Parameters of a task that counts."""

    task: ClassVar[str] = "count"
    step: int = field(default=1, metadata={"help": "How far each frame counts."})


class CountHead(Head):
    """Writes the sum of the steps so far."""

    needs_features = False

    def __init__(self, step):
        self.step_by, self.total = step, 0

    def network_hw(self, source_hw):
        return source_hw

    def step(self, frame, features, detections=None):  # noqa: ARG002
        self.total += self.step_by
        return Tracks(frame.index, np.zeros(0, np.int64))

    def reset(self):
        self.total = 0


@pytest.fixture
def clip(tmp_path):
    config = SceneConfig(frames=3, height=64, width=96, objects=2)
    return write_scene(Scene(config), tmp_path / "clip").source


def test_a_task_is_one_row_and_one_head(monkeypatch, clip, quick_bundle, tmp_path):
    heads = []

    def make(_graphs, config, _init, _info):
        heads.append(CountHead(config.step))
        return heads[-1]

    row = TaskSpec(CountConfig, make, "tracks.txt", TASKS["mot"].open_writer, prompt="a number")
    monkeypatch.setitem(TASKS, "count", row)
    command = track_command.make_command()
    shown = CliRunner().invoke(command, ["--help"], terminal_width=200).output
    assert "Parameters of --task count" in shown
    assert "How far each frame counts." in shown
    arguments = [str(clip), "--task", "count", "--count-step", "5", "--init", "x"]
    output = tmp_path / "out"
    arguments += ["--bundle", str(quick_bundle.path), "--output", str(output)]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert heads[0].total == 15
    data = json.loads((output / "run.json").read_text())
    assert data["task"] == "count"
    assert data["config"]["tasks"] == {"count": {"step": 5}}
    again = ["--config", str(output / "run.json"), "--output", str(tmp_path / "again")]
    assert CliRunner().invoke(command, again, catch_exceptions=False).exit_code == 0
    assert heads[1].total == 15


@dataclass(frozen=True, slots=True)
class ToastedRun(RunConfig):
    """A run with one option more."""

    toast: int = option("How brown.", 3, least=1)


def test_an_option_is_one_field():
    @click.command()
    @config_options(ToastedRun, "Run")
    def command(**values):
        click.echo(repr(config_from(ToastedRun, values).toast))

    assert CliRunner().invoke(command, []).output == "3\n"
    assert CliRunner().invoke(command, ["--toast", "7"]).output == "7\n"
    assert "x>=1" in CliRunner().invoke(command, ["--toast", "0"]).output
    assert "How brown." in CliRunner().invoke(command, ["--help"]).output


def test_every_row_is_whole(tmp_path):
    for name, spec in TASKS.items():
        assert spec.config.task == name
        assert spec.config() == replace(spec.config())
        with spec.open_writer(tmp_path / name):
            pass
        assert not (spec.needs_person_model and spec.person_model is None)
        assert not (spec.interactive and spec.prompt is None)
