"""Options of `cli track`, and those of every head, made from the configuration classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from ...errors import RequestError
from ...heads.config import CONFIGS, HeadConfig
from ...runtime.inference.registry import BACKENDS

DEFAULT_BACKBONE = "efficientnet-lite0"


_Function = TypeVar("_Function", bound=Callable[..., Any])


_OPTIONS = (
    click.option(
        "--task",
        "tasks",
        type=click.Choice(["sot", "vos", "mot", "mots", "posetrack", "pose"]),
        multiple=True,
        required=True,
        help="What to track; repeat it to do several tasks with one pass of the backbone a frame.",
    ),
    click.option(
        "--bundle", type=click.Path(path_type=Path), help="Folder written by `cli export`."
    ),
    click.option(
        "--backbone",
        help="Use bundles/BACKBONE, exported first if it is missing.  [default: "
        f"{DEFAULT_BACKBONE}]",
    ),
    click.option(
        "--backend",
        type=click.Choice(list(BACKENDS)),
        default="cpu",
        show_default=True,
        help="What runs the graphs; never replaced by another one. tensorrt and tensorrt-rtx run "
        "what `cli build` built.",
    ),
    click.option(
        "--rebuild",
        is_flag=True,
        help="Build TensorRT engines that are missing or do not fit this machine first.",
    ),
    click.option(
        "--detector-backend",
        type=click.Choice(["cpu", "cuda"]),
        help="What runs the ONNX models of --detector, --pose-model and --mask-model.  "
        "[default: cpu with --backend cpu, cuda with all others]",
    ),
    click.option(
        "--threads", type=click.IntRange(min=0), default=0, help="CPU threads.  [default: all]"
    ),
    click.option(
        "--init",
        "inits",
        multiple=True,
        help="vos: the first frame's mask (PNG; several values are several objects), or a box "
        "X,Y,W,H (or 'select' to draw it) in which the object is cut out. sot: the box X,Y,W,H "
        "(pixels from 0), a file whose first row is x,y,w,h (OTB, pixels from 1), or 'select' to "
        "draw it. pose: the first frame's keypoints, PoseTrack18 JSON or COCO results.",
    ),
    click.option(
        "--detections",
        multiple=True,
        help="mot, mots, posetrack: file of detections (MOTChallenge or MOTS text, PoseTrack18 "
        "JSON or COCO results); without a model for them, mots needs masks and posetrack "
        "keypoints. For several sources as --init.",
    ),
    click.option(
        "--detector",
        help="mot, mots, posetrack: 'motion' (camera that stands still) or a YOLOX .onnx model. It "
        "gives boxes (motion: masks too); for poses or masks of people add one of the next two.",
    ),
    click.option(
        "--pose-model",
        "person_pose_model",  # what begins with a task's name is a parameter of that task
        type=click.Path(path_type=Path),
        help="posetrack: ONNX model that finds the joints in every box (MoveNet or BlazePose), "
        "with --detector or --detections.",
    ),
    click.option(
        "--mask-model",
        "person_mask_model",
        type=click.Path(path_type=Path),
        help="mots: ONNX model that finds the person's mask in every box (BlazePose, for "
        "instance), with --detector or --detections.",
    ),
    click.option(
        "--detector-classes",
        metavar="N,N,…",
        help="Class numbers of the model to keep; 0 is COCO's person.  [default: all; 0 with "
        "--pose-model or --mask-model]",
    ),
    click.option(
        "--detector-confidence", type=float, help="Lowest score of the model's detections."
    ),
    click.option(
        "--output",
        type=click.Path(path_type=Path),
        help="Folder of the results; with several sources, of a folder each.  [default: "
        "runs/SOURCE-TASK, numbered]",
    ),
    click.option("--save-video", is_flag=True, help="Write video.mp4 with the tracks drawn in."),
    click.option("--show", is_flag=True, help="Show the tracks in a window; q ends."),
    click.option("--max-frames", type=int, help="Stop after so many frames."),
    click.option("--fps", type=float, help="Frame rate of images, or instead of the video's own."),
    click.option(
        "--realtime",
        is_flag=True,
        help="Play files at their own pace; frames that are late are dropped.",
    ),
    click.option(
        "--reconnect-after",
        "freeze_s",
        type=float,
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="Reconnect to a camera or stream that gives no frame for so long.",
    ),
    click.option(
        "--give-up",
        "give_up_s",
        type=float,
        metavar="SECONDS",
        help="End a camera or stream that gives no frame for so long; 0: at its first failure.  "
        "[default: never]",
    ),
    click.option(
        "--batch",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Frames of several sources in one pass of the backbone, at most; for CPUs of many "
        "cores.",
    ),
    click.option("--overwrite", is_flag=True, help="Replace the results of an earlier run."),
)


def run_options(function: _Function) -> _Function:
    """Add the options of the tasks, the bundle, the detections, the sources and the results."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


LIVE = ("serve", "serve_token", "jsonl")
"""The parameters that `runtime.live_outputs.LiveRequest` takes, by the same names."""


def live_options(function: _Function) -> _Function:
    """Add --serve, --serve-token, --jsonl and --segment to a command."""
    options = (
        click.option(
            "--serve",
            metavar="[HOST:]PORT",
            help="Show the run in a browser, and let it start tracks of sot and vos. Without "
            "HOST, this machine alone can look; another one needs a token.",
        ),
        click.option(
            "--serve-token",
            metavar="TOKEN",
            help="What viewers must know.  [default: the variable UNITRACK_TOKEN]",
        ),
        click.option(
            "--jsonl",
            metavar="FILE|-",
            help="Write a line of JSON a frame to a file, or with - to the standard output.",
        ),
        click.option(
            "--segment",
            "segment_minutes",
            type=float,
            metavar="MINUTES",
            help="Cut results and video into files of so many minutes of the source.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


NAME = "{name}"
"""Stands for a source's short name."""


def one_each(flag: str, values: Sequence[str], names: Sequence[str]) -> list[str | None]:
    """What a repeated option says for each source.

    Args:
        flag: The option, for messages.
        values: As given, in their order.
        names: The sources' short names, in theirs.

    Returns:
        One a source: None where the option was not given at all.

    Raises:
        RequestError: Neither one a source, nor one with `{name}` in it.
    """
    if not values:
        return [None] * len(names)
    if len(values) == 1 and NAME in values[0]:
        return [values[0].replace(NAME, name) for name in names]
    if len(values) != len(names):
        raise RequestError(
            f"{flag} was given {len(values)} times for {len(names)} sources: give it once each, in "
            f"their order, or once with {NAME} in it ({NAME} is {names[0]} for the first)"
        )
    return [value.replace(NAME, name) for value, name in zip(values, names, strict=True)]


def head_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--TASK-PARAMETER` for every parameter of every task."""
    for task, config in reversed(CONFIGS.items()):
        for parameter in reversed(fields(config)):
            name = f"--{task}-{parameter.name.replace('_', '-')}"
            if isinstance(parameter.default, bool):
                name = f"{name}/--{task}-no-{parameter.name.replace('_', '-')}"
            option = click.option(
                name,
                f"{task}_{parameter.name}",
                default=parameter.default,
                show_default=True,
                type=type(parameter.default),
                help=parameter.metadata["help"],
            )
            function = option(function)
    return function


def head_config(task: str, values: dict[str, Any]) -> HeadConfig:
    """The configuration of a task from the values of all options.

    Raises:
        RequestError: A value is out of range.
    """
    config = CONFIGS[task]
    chosen = {p.name: values[f"{task}_{p.name}"] for p in fields(config)}
    for name, value in chosen.items():
        if isinstance(value, float) and not math.isfinite(value):
            flag = f"--{task}-{name.replace('_', '-')}"
            raise RequestError(f"{flag} {value}: expected a finite number")
    return config(**chosen)


def is_head_option(name: str) -> bool:
    """Whether an option of a command was made by `head_options`."""
    return any(
        name == f"{task}_{parameter.name}"
        for task, config in CONFIGS.items()
        for parameter in fields(config)
    )


class SectionedCommand(click.Command):
    """Shows the options of each task under a heading of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the option sections of the help text."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or isinstance(parameter, click.Argument):
                continue
            task = (parameter.name or "").split("_")[0]
            title = f"Parameters of --task {task}" if task in CONFIGS else "Options"
            sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
