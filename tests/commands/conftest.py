"""Runs of `cli track` on a small clip."""

from __future__ import annotations

import pytest
from unitrack_edge.evaluation.synthetic.files import write_scene
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig

from ..support.command_line import run_cli
from ..support.track_runs import FRAMES, HEIGHT, NETWORK, WIDTH


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    config = SceneConfig(frames=FRAMES, height=HEIGHT, width=WIDTH, objects=3)
    return write_scene(Scene(config), tmp_path_factory.mktemp("cli") / "clip")


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """The same clip as images."""
    config = SceneConfig(frames=FRAMES, height=HEIGHT, width=WIDTH, objects=3)
    return write_scene(Scene(config), tmp_path_factory.mktemp("cli") / "images", form="images")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Runs happen in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mot(clip, quick_bundle, here):
    """Runs task mot into a folder; keywords stand for other options."""

    def run(*more, source=clip.source, detections=clip.detections, bundle=quick_bundle.path, **kw):
        output = kw.pop("output", here / "out")
        seen = () if detections is None else ("--detections", detections)
        options = ("--task", "mot", "--bundle", bundle, *seen, "--output", output, *NETWORK)
        return run_cli("track", source, *options, *more, **kw)

    return run


@pytest.fixture
def vos(clip, lite_bundle, here):
    def run(*more, source=clip.source, init=clip.init_mask, output=here / "out", **kw):
        options = ("--task", "vos", "--bundle", lite_bundle.path, "--output", output)
        return run_cli("track", source, *options, "--init", init, *more, **kw)

    return run
