"""What `cli track` can be asked besides the live view and the parameters of the heads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..runtime.backends import BACKENDS

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
