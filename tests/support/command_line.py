"""Runs commands as a user would, in this process."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner
from unitrack_edge.cli import main

ROW = re.compile(r"\d+,\d+,-?\d+\.\d\d,-?\d+\.\d\d,\d+\.\d\d,\d+\.\d\d,-?\d\.\d{4},-?\d+,-1")


def run_cli(*arguments, status=0, stderr=""):
    """What a command says: its standard output, or its error, which must be one line.

    Args:
        arguments: Of the command line.
        status: The exit status that is expected.
        stderr: What a command without an error says on standard error.
    """
    ran = CliRunner().invoke(
        main, [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments]
    )
    assert ran.exit_code == status, ran.output
    assert "Traceback" not in ran.output
    if not status:
        assert ran.stderr == stderr
        return ran.stdout
    check_error(ran.stderr)
    return ran.stderr


def check_error(stderr):
    """One line that begins with `Error:`, or that and nothing else."""
    assert stderr.startswith("Error: ")
    assert stderr.count("\n") == 1
    assert stderr.endswith("\n")


def report_of(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def rows_of(folder):
    """The rows of tracks.txt as numbers; every line must be whole."""
    text = (folder / "tracks.txt").read_text(encoding="ascii")
    assert text == "" or text.endswith("\n")
    for line in text.splitlines():
        assert ROW.fullmatch(line), line
    return np.array([line.split(",") for line in text.splitlines()], np.float64).reshape(-1, 9)


def video_of(path):
    """All frames of a video, (N, H, W, 3)."""
    capture = cv2.VideoCapture(str(path))
    assert capture.isOpened()
    images = []
    while True:
        ok, image = capture.read()
        if not ok:
            break
        images.append(image)
    capture.release()
    return np.array(images)
