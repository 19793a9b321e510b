"""`cli compare-trackers` with peers made up here: one perfect, one that fails."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from unitrack_edge.cli import main
from unitrack_edge.evaluation.side_by_side import peers
from unitrack_edge.evaluation.side_by_side.peers import PEERS, Peer, tracks_of
from unitrack_edge.records import Detections, Frame

from ...support.eval_data import write_small_data


def perfect(fps):
    """Gives the one object of the data its one identity."""
    assert fps > 0

    def update(frame, seen):
        assert frame.image.shape == (96, 128, 3)
        return tracks_of(frame, np.zeros(len(seen)), seen.boxes_xyxy, seen.scores)

    return update


def failing(fps):
    del fps

    def update(frame, seen):
        del seen
        raise ValueError(f"no idea of frame {frame.index}")

    return update


def choosy(fps):
    """Takes scores above 1 only, as a tracker made for raw scores might."""
    del fps
    return lambda frame, seen: tracks_of(
        frame, np.zeros(int((seen.scores > 1).sum())), seen.boxes_xyxy[seen.scores > 1], None
    )


@pytest.fixture
def data(tmp_path):
    pytest.importorskip("trackeval", reason="scoring is TrackEval's: extra 'eval'")
    return write_small_data(tmp_path / "data") / "mot"


def compared(monkeypatch, bundle, root, *found, more=()):
    monkeypatch.setattr(peers, "PEERS", found)
    command = ["compare-trackers", "--data", str(root), "--bundle", str(bundle.path), *more]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return result.output


def test_ours_and_peers_on_the_same_detections(monkeypatch, quick_bundle, data, tmp_path):
    found = (
        Peer("Perfect", "numpy", perfect),
        Peer("Failing", "numpy", failing),
        Peer("Absent", "no_such_package", perfect),
    )
    files = ["--json-file", str(tmp_path / "a.json"), "--markdown-file", str(tmp_path / "a.md")]
    output = compared(monkeypatch, quick_bundle, data, *found, more=files)
    result = json.loads((tmp_path / "a.json").read_text())
    rows = {row["tracker"]: row for row in result["sequences"]["A"]}
    title = f"numpy {np.__version__} Perfect"
    ours = ["ours", "ours, --mot-appearance always", "ours, --mot-preset unitrack"]
    assert list(rows) == [*ours, title]
    assert rows[title]["scores"]["HOTA"] == pytest.approx(1, abs=1e-6)
    assert rows["ours"]["scores"]["IDF1"] == pytest.approx(1)
    assert all(row["update_ms"] > 0 for row in rows.values())
    assert len(result["notes"]) == 3
    assert any("take the backbone" in note for note in result["notes"])
    assert rows[title]["detection_scores"] == "probabilities", "as good as any other: the first"
    assert "no_such_package is not installed" in output
    assert "failed (ValueError: no idea of frame 0)" in output
    assert title in (tmp_path / "a.md").read_text()


def test_raw_scores_are_given_both_ways_and_the_better_counts(monkeypatch, quick_bundle, data):
    path = data / "A" / "det" / "det.txt"
    path.write_text(path.read_text().replace(",1\n", ",30\n"))
    found = (Peer("Choosy", "numpy", choosy), Peer("Perfect", "numpy", perfect))
    output = compared(monkeypatch, quick_bundle, data, *found, more=["--json"])
    rows = json.loads(output)["sequences"]["A"]
    assert [row["detection_scores"] for row in rows] == [
        "probabilities", "probabilities", "raw", "raw", "probabilities",
    ]  # fmt: skip


def test_a_sequence_without_truth_is_refused(monkeypatch, quick_bundle, data):
    (data / "A" / "gt" / "gt.txt").unlink()
    monkeypatch.setattr(peers, "PEERS", ())
    command = ["compare-trackers", "--data", str(data), "--bundle", str(quick_bundle.path)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "no ground truth" in result.output


# The packages' own interfaces, as they are documented.

FRAME = Frame(3, 0.1, np.zeros((20, 40, 3), np.uint8))
SEEN = Detections(
    np.array([[1, 2, 11, 18], [20, 2, 31, 19]], np.float32),
    np.array([0.9, 0.4], np.float32),
    np.full(2, -1, np.int64),
)


def given(name, package):
    """The row of `PEERS`."""
    return next(peer for peer in PEERS if (peer.name, peer.package) == (name, package))


@pytest.mark.parametrize("name", ["OC-SORT", "BoT-SORT"])
def test_roboflows_trackers(monkeypatch, name):
    """An id of -1 is no identity yet; only BoT-SORT looks at the image."""
    asked = []

    class Tracker:
        def __init__(self, frame_rate):
            asked.append(frame_rate)

        def update(self, detections, frame=None):
            asked.append(frame is not None)
            return SimpleNamespace(
                xyxy=detections.xyxy, confidence=detections.confidence,
                tracker_id=np.array([0, -1]),
            )  # fmt: skip

    module, supervision = ModuleType("trackers"), ModuleType("supervision")
    module.OCSORTTracker = module.BoTSORTTracker = Tracker
    supervision.Detections = SimpleNamespace
    monkeypatch.setitem(sys.modules, "trackers", module)
    monkeypatch.setitem(sys.modules, "supervision", supervision)
    tracks = given(name, "trackers").open(25.0)(FRAME, SEEN)
    assert asked == [25.0, name == "BoT-SORT"]
    assert tracks.frame_index == 3
    assert tracks.ids.tolist() == [1]
    np.testing.assert_array_equal(tracks.detections.boxes_xyxy, SEEN.boxes_xyxy[:1])


def test_boxmots_trackers(monkeypatch):
    class Tracker:
        def __init__(self, frame_rate, use_embeddings):
            assert (frame_rate, use_embeddings) == (25, False)

        def update(self, rows, image):
            assert rows.shape == (2, 6)
            assert (rows[:, 5] == 0).all(), "not known is no class of theirs"
            assert image is FRAME.image
            return np.array([[*rows[1, :4], 7, rows[1, 4], 0, 1]])

    module = ModuleType("boxmot")
    module.BotSort = Tracker
    monkeypatch.setitem(sys.modules, "boxmot", module)
    tracks = given("BoT-SORT, no ReID", "boxmot").open(25.0)(FRAME, SEEN)
    assert tracks.ids.tolist() == [8]
    np.testing.assert_array_equal(tracks.detections.boxes_xyxy, SEEN.boxes_xyxy[1:])
    np.testing.assert_allclose(tracks.detections.scores, [0.4])


def test_norfair(monkeypatch):
    class Tracker:
        def __init__(self, distance_function, distance_threshold):
            assert (distance_function, distance_threshold) == ("iou", 0.7)

        def update(self, detections):
            return [
                SimpleNamespace(id=5 + n, estimate=one.points + 1, last_detection=one)
                for n, one in enumerate(detections)
            ]

    module = ModuleType("norfair")
    module.Tracker, module.Detection = Tracker, SimpleNamespace
    monkeypatch.setitem(sys.modules, "norfair", module)
    update = given("IoU 0.7", "norfair").open(25.0)
    tracks = update(FRAME, SEEN)
    assert tracks.ids.tolist() == [6, 7]
    np.testing.assert_array_equal(tracks.detections.boxes_xyxy, SEEN.boxes_xyxy + 1)
    assert len(update(FRAME, Detections.empty())) == 0
