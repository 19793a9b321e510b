"""`--keep`: old segments go, and nothing else does."""

import os
from pathlib import Path

import pytest
from unitrack_edge.errors import RequestError
from unitrack_edge.runtime.writers.retention import KeepLimit, Retention, parse_limit
from unitrack_edge.runtime.writers.segments import segment_path
from unitrack_edge.tracking.config import RunConfig, earlier_outputs
from unitrack_edge.tracking.registry import RESULT_FORMATS, TASKS

DAY_S = 86_400
NOW_S = 100 * DAY_S


def make(path, days_old, size=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        path.write_bytes(b"x" * size)
    else:
        path.mkdir()
        (path / "00000.png").write_bytes(b"x" * size)
        os.utime(path / "00000.png", (NOW_S - days_old * DAY_S,) * 2)
    os.utime(path, (NOW_S - days_old * DAY_S,) * 2)
    return path


def sweep(limit, *folders):
    retention = Retention(limit, folders, clock=lambda: NOW_S)
    retention.begin(folders[0] / "tracks-0009.txt")
    return retention.removed


SEGMENTED = [
    *(Path(spec.result) for spec in TASKS.values()),
    *(Path(name) for name, _ in RESULT_FORMATS.values()),
    Path("video.mp4"),
]
"""All that `--segment` cuts, by its name in one piece."""


@pytest.mark.parametrize("output", sorted(set(SEGMENTED)), ids=str)
def test_segments_of_every_result_go(tmp_path, output):
    old, newest = (make(segment_path(tmp_path / output, n), 9 - n) for n in (1, 2))
    assert sweep(KeepLimit(age_s=DAY_S), tmp_path) == 1
    assert not old.exists()
    assert newest.exists()


def test_what_is_too_old_goes_and_nothing_else(tmp_path):
    old = [make(tmp_path / f"{stem}-0001{end}", 9) for stem, end in
           (("tracks", ".txt"), ("video", ".mp4"), ("masks", ""))]  # fmt: skip
    kept = [make(tmp_path / f"{stem}-0002{end}", 2) for stem, end in
            (("tracks", ".txt"), ("video", ".mp4"), ("masks", ""))]  # fmt: skip
    foreign = ("run.json", "tracks.txt", "video.mp4", "mine-0001.mp4", "tracks-12.txt", "x.txt")
    kept += [make(tmp_path / name, 50) for name in foreign]
    link = tmp_path / "video-0000.mp4"
    link.symlink_to(kept[-1])
    assert sweep(KeepLimit(age_s=7 * DAY_S), tmp_path) == 3
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in (*kept, link))


def test_the_newest_segment_of_each_output_stays_however_old(tmp_path):
    newest = make(tmp_path / "door" / "video-0007.mp4", 80)
    older = make(tmp_path / "door" / "video-0006.mp4", 81)
    other = make(tmp_path / "yard" / "video-0001.mp4", 82)
    assert sweep(KeepLimit(age_s=DAY_S), tmp_path) == 1
    assert newest.exists()
    assert other.exists()
    assert not older.exists()


def test_the_oldest_go_until_the_rest_fits(tmp_path):
    rows = [make(tmp_path / f"video-{n:04d}.mp4", 20 - n, size=1000) for n in range(1, 11)]
    assert sweep(KeepLimit(size=3500), tmp_path) == 7
    assert [path.exists() for path in rows] == [False] * 7 + [True] * 3
    assert sweep(KeepLimit(size=3500), tmp_path) == 0


def test_a_limit_is_days_or_a_size_and_belongs_to_segments():
    assert parse_limit("7d") == parse_limit("7 days") == KeepLimit(age_s=7 * DAY_S)
    assert parse_limit("1.5GB") == KeepLimit(size=1_500_000_000)
    for text in ("7", "0d", "-1d", "7 weeks", "50TB", ""):
        with pytest.raises(RequestError, match="--keep"):
            parse_limit(text)
    with pytest.raises(RequestError, match="add --segment"):
        RunConfig(keep="7d")
    assert RunConfig(keep="7d", segment_minutes=10).keep_limit == KeepLimit(age_s=7 * DAY_S)


def test_earlier_runs_are_those_of_the_same_default_folder(tmp_path):
    for name in ("door-mot", "door-mot-2", "door-mot-3", "door-mot-old", "yard-mot", "door-mots"):
        (tmp_path / name).mkdir()
    (tmp_path / "door-mot-4").symlink_to(tmp_path / "yard-mot")
    found = [path.name for path in earlier_outputs(tmp_path / "door-mot-3")]
    assert found == ["door-mot", "door-mot-2", "door-mot-3"]
