"""One run a folder, whichever way the second one comes."""

import subprocess
import sys

import pytest
from unitrack_edge.errors import ExportError, OutputError
from unitrack_edge.runtime.bundle.staging import partial_folder
from unitrack_edge.runtime.paths import lock_folder, unlock_folder
from unitrack_edge.runtime.writers.run_folder import OutputFolder


def test_a_second_run_into_one_folder_is_refused_and_harms_nothing(tmp_path):
    first = OutputFolder(tmp_path)
    (tmp_path / "tracks.txt").write_text("1")
    with pytest.raises(OutputError, match="in use by another run"):
        OutputFolder(tmp_path, overwrite=True)
    assert (tmp_path / "tracks.txt").read_text() == "1"
    first.close()
    OutputFolder(tmp_path, overwrite=True).close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_refused_is_free_again(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    for _ in range(2):
        with pytest.raises(OutputError, match="is not empty"):
            OutputFolder(tmp_path)


@pytest.mark.parametrize("read", ["tracks.txt", "video.mp4", "masks", "masks/00000.png"])
def test_the_folder_is_not_cleared_of_what_the_run_reads(read, tmp_path):
    (tmp_path / "masks").mkdir()
    written = [tmp_path / name for name in ("masks/00000.png", "tracks.txt", "video.mp4")]
    for path in written:
        path.write_text("mine")
    inputs = (tmp_path / "elsewhere.mp4", tmp_path / "masks" / ".." / read)
    with pytest.raises(OutputError, match=r"would remove .*choose another --output"):
        OutputFolder(tmp_path, overwrite=True, inputs=inputs)
    assert all(path.exists() for path in written)
    OutputFolder(tmp_path, overwrite=True, inputs=inputs[:1])
    assert not any(path.exists() for path in written)


def test_the_system_gives_the_folder_back_when_a_process_is_killed(tmp_path):
    program = (
        "import os, sys, pathlib; from unitrack_edge.runtime.paths import lock_folder\n"
        "assert lock_folder(pathlib.Path(sys.argv[1])) is not None; print(flush=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, check=False
    )
    assert ran.stdout == b"\n"
    lock = lock_folder(tmp_path)
    assert lock is not None
    unlock_folder(lock)


def test_two_exports_into_one_folder_leave_each_other_alone(tmp_path):
    output = tmp_path / "bundle"
    with partial_folder(output, ExportError) as first:
        (first / "backbone.onnx").write_text("half")
        with (
            pytest.raises(ExportError, match="another command is writing"),
            partial_folder(output, ExportError),
        ):
            raise AssertionError
        assert (first / "backbone.onnx").read_text() == "half"
    stale = tmp_path / ".bundle.partial-killed"
    stale.mkdir()
    with partial_folder(output, ExportError):
        assert not stale.exists()


def test_an_earlier_run_of_several_sources_and_tasks_leaves_nothing_behind(tmp_path):
    """Only what its run.json names is its own: another folder with results of a run stays."""
    (tmp_path / "run.json").write_text('{"sources": {"a": {}, "..": {}}, "tasks": {"mot": {}}}')
    names = ["a/vos/masks/00000.png", "a/mine.txt", "a/run.json", "mot/tracks.txt", "b/run.json"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"tasks": {"vos": {}}}' if name == "a/run.json" else "mine")
    with pytest.raises(OutputError, match="would remove"):
        OutputFolder(tmp_path, overwrite=True, inputs=[tmp_path / "mot" / "tracks.txt"])
    OutputFolder(tmp_path, overwrite=True).close()
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")} == {
        "a", "a/mine.txt", "b", "b/run.json",
    }  # fmt: skip


def test_the_place_of_the_report_is_given_back(tmp_path):
    folder = OutputFolder(tmp_path / "out")
    folder.reserve()
    (reserved,) = (tmp_path / "out").iterdir()
    assert reserved.stat().st_size == 16384
    folder.release()
    folder.release()
    assert list((tmp_path / "out").iterdir()) == []
    folder.reserve()
    folder.discard()
    assert not (tmp_path / "out").exists()
