"""Gaps of tracks filled while frames come, against filling over the finished video."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unitrack_edge.errors import SourceError
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.tracking.gaps import GapFiller, fill_gaps

from ..reference import gaps_plain

FPS = 25.0
SIZE = (48, 64)
ROUNDING = 2**-24
"""Of one number to float32, as a share of its magnitude."""

row = st.fixed_dictionaries(
    {
        "box": st.tuples(*[st.integers(-40, 90), st.integers(-40, 90), *[st.integers(1, 60)] * 2]),
        "score": st.integers(0, 8).map(lambda eighths: eighths / 8),
        "label": st.integers(-1, 3),
        "predicted": st.booleans(),
        "joints": st.lists(
            st.tuples(st.integers(-9, 70), st.integers(-9, 70), st.sampled_from([0.0, 0.5, 1.0])),
            min_size=3,
            max_size=3,
        ),
    }
)


@st.composite
def videos(draw, tasks=1):
    """Frames at uneven times, of which the clock stands still at some, of one size or two."""
    frames, index, time_s = [], -1, 0.0
    for _ in range(draw(st.integers(1, 24))):
        index += draw(st.integers(1, 3))
        time_s += draw(st.sampled_from([0.0, 0.04, 0.04, 0.04, 0.1, 0.5]))
        size_hw = draw(st.sampled_from([SIZE] * 19 + [(24, 32)]))
        rows = [draw(st.dictionaries(st.integers(1, 4), row)) for _ in range(tasks)]
        frames.append({"index": index, "time_s": time_s, "size_hw": size_hw, "rows": rows})
    return frames


def corners(box):
    x, y, width, height = box
    return [x, y, x + width, y + height]


def plain(frames, task):
    """The frames of one task, as the reference takes them."""
    rows = [
        {i: {**one, "box": corners(one["box"])} for i, one in frame["rows"][task].items()}
        for frame in frames
    ]
    return [{**frame, "rows": own} for frame, own in zip(frames, rows, strict=True)]


def tracks_of(index, rows):
    count = len(rows)
    seen = Detections(
        np.array([corners(r["box"]) for r in rows.values()], np.float32).reshape(count, 4),
        np.array([r["score"] for r in rows.values()], np.float32),
        np.array([r["label"] for r in rows.values()], np.int64),
        keypoints=np.array([r["joints"] for r in rows.values()], np.float32).reshape(count, 3, 3),
        class_names=("person",),
    )
    predicted = np.array([r["predicted"] for r in rows.values()], np.bool_)
    ids = np.array(list(rows), np.int64)
    return Tracks(index, ids, seen, predicted=predicted if predicted.any() else None)


def frame_of(data, value=7):
    image = np.full((*data["size_hw"], 3), value, np.uint8)
    return Frame(data["index"], data["time_s"], image, f"{data['index']}.png")


def streamed(frames, seconds, **settings):
    """What a run hands on, and how much waited after every frame."""
    gaps = GapFiller(seconds, FPS, **settings)
    done, waited = [], []
    for data in frames:
        results = [tracks_of(data["index"], rows) for rows in data["rows"]]
        gaps.add(frame_of(data), {"head": data["time_s"]}, results)
        done += list(gaps.ready())
        waited.append(len(gaps))
    done += list(gaps.ready(ended=True))
    assert len(gaps) == 0
    return done, waited, gaps.filled


@given(videos(tasks=2), st.sampled_from([0.04, 0.08, 0.2, 1.0]), st.sampled_from([0.0, 0.12, 0.5]))
def test_frames_as_they_come_get_what_the_finished_video_would(frames, first_s, second_s):
    done, _, filled = streamed(frames, (first_s, second_s))
    assert [frame.index for frame, _, _ in done] == [data["index"] for data in frames]
    assert [stages["head"] for _, stages, _ in done] == [data["time_s"] for data in frames]
    for task, seconds in enumerate((first_s, second_s)):
        wanted = [{} for _ in frames]
        if seconds:
            wanted = gaps_plain.fill(plain(frames, task), seconds, FPS)
        assert filled[task] == sum(map(len, wanted))
        for data, more, (_, _, results) in zip(frames, wanted, done, strict=True):
            tracks, own = results[task], tracks_of(data["index"], data["rows"][task])
            kept = [row for row, identity in enumerate(own.ids.tolist()) if identity not in more]
            count = len(kept)
            assert tracks.frame_index == data["index"]
            assert tracks.ids.tolist() == [*own.ids[kept].tolist(), *sorted(more)]
            for name in ("boxes_xyxy", "scores", "classes", "keypoints"):
                before, after = getattr(own.detections, name), getattr(tracks.detections, name)
                assert (after[:count] == before[kept]).all()
            marks = [data["rows"][task][int(i)]["predicted"] for i in own.ids[kept]]
            assert (tracks.predicted is not None) == any([*marks, *more])
            if tracks.predicted is not None:
                assert tracks.predicted.tolist() == marks + [True] * len(more)
            for number, identity in enumerate(sorted(more), count):
                shown = tracks.detections
                one = more[identity]
                assert shown.classes[number] == one["label"]
                # Both compute in float64, whose roundings are 2 ** 29 times smaller.
                for got, expected, most in (
                    (shown.boxes_xyxy[number], one["box"], 256),
                    (shown.scores[number], one["score"], 1),
                    (shown.keypoints[number], one["joints"], 128),
                ):
                    assert got == pytest.approx(np.array(expected), abs=most * ROUNDING)


def one_track(there, size_hw=SIZE, step_s=1 / FPS):
    """A box that goes four pixels a frame, where it is there."""
    rows = {"score": 0.5, "label": 0, "joints": [(1, 2, 1.0)] * 3, "predicted": False}
    return [
        {
            "index": index,
            "time_s": index * step_s,
            "size_hw": size_hw,
            "rows": [{1: {**rows, "box": (4 * index, 5, 10, 20)}} if seen else {}],
        }
        for index, seen in enumerate(there)
    ]


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 59.94, 60])
def test_a_gap_is_as_long_as_the_time_between_its_ends(fps):
    """1 s at 25 FPS: 24 frames are missing, and not 25; rounded times make no difference."""
    for missing, closes in ((round(fps) - 1, True), (round(fps), False)):
        frames = one_track([True, *[False] * missing, True], step_s=1 / fps)
        for data in frames:
            data["time_s"] = round(data["time_s"], 3)
        done, _, filled = streamed(frames, (1.0,))
        assert filled == [missing if closes else 0]
        lefts = [tracks.detections.boxes_xyxy[:, 0] for _, _, (tracks,) in done]
        if closes:
            assert np.concatenate(lefts) == pytest.approx(4 * np.arange(len(frames)), abs=0.5)


@given(videos(), st.sampled_from([0.04, 0.2, 1.0]))
def test_no_frame_waits_for_longer_than_a_gap_may_be(frames, seconds):
    _, waited, _ = streamed(frames, (seconds,))
    clock = [0.0]
    for one, other in itertools.pairwise(frames):
        step = other["time_s"] - one["time_s"]
        clock.append(clock[-1] + (step if step > 0 else (other["index"] - one["index"]) / FPS))
    for number, count in enumerate(waited):
        if count:
            first = number + 1 - count
            assert clock[number] - clock[first] < seconds + gaps_plain.TOLERANCE_S


def test_frames_wait_only_for_tracks_that_are_missed():
    _, waited, _ = streamed(one_track([True] * 4 + [False] * 8), (0.2,))
    assert waited == [0] * 4 + [1, 2, 3, 4, 5] + [0] * 3
    _, waited, _ = streamed(one_track([False] * 5), (0.2,))
    assert waited == [0] * 5


def test_an_end_in_the_middle_hands_on_what_waits():
    frames = one_track([True, False, False])
    done, waited, filled = streamed(frames, (1.0,))
    assert waited == [0, 1, 2]
    assert [len(tracks) for _, _, (tracks,) in done] == [1, 0, 0]
    assert filled == [0]


def test_images_are_kept_only_where_they_are_looked_at():
    frames = one_track([True, False, True])
    for keeps, value in ((True, 7), (False, 0)):
        done, _, _ = streamed(frames, (1.0,), keeps_images=keeps)
        for frame, _, _ in done:
            assert frame.size_hw == SIZE
            assert frame.name == f"{frame.index}.png"
            assert (frame.image == value).all()
        owned = {frame.image.base is None for frame, _, _ in done}
        assert owned == {keeps}


def test_what_is_handed_on_counts_only_when_the_next_is_asked_for():
    gaps = GapFiller((1.0,), FPS)
    for data in one_track([True, False, True]):
        gaps.add(frame_of(data), {}, [tracks_of(data["index"], data["rows"][0])])
    ready = gaps.ready()
    next(ready)
    assert (len(gaps), gaps.filled) == (3, [0])
    next(ready)
    assert (len(gaps), gaps.filled) == (2, [0])
    ready.close()
    assert [frame.index for frame, _, _ in gaps.ready()] == [1, 2]
    assert gaps.filled == [1]


@pytest.mark.parametrize(("last", "shown"), [(True, [0, 4, 8, 12]), (False, [0, 90, 90])])
def test_where_motion_takes_a_track_gives_way_to_what_lies_between(last, shown):
    """It stays where nothing ends the gap."""
    frames = one_track([True, True, True, last])
    for data in frames[1:3]:
        data["rows"][0][1] |= {"box": (90, 5, 10, 20), "predicted": True}
    done, waited, filled = streamed(frames, (1.0,))
    every = [tracks for _, _, (tracks,) in done]
    lefts = [float(left) for tracks in every for left in tracks.detections.boxes_xyxy[:, 0]]
    assert lefts == pytest.approx(shown, abs=1e-5)
    marks = [mark for t in every[1:3] for mark in t.predicted.tolist()]
    assert marks == [True, True]
    assert waited == ([0, 1, 2, 0] if last else [0, 1, 2, 3])
    assert filled == [2 if last else 0]


def test_masks_of_others_stay_and_a_filled_row_has_none():
    gaps = GapFiller((1.0,), FPS)
    out = []
    for data in one_track([True, False, True]):
        tracks = tracks_of(data["index"], {2: one_track([True])[0]["rows"][0][1]})
        masks = np.ones((1, *SIZE), np.bool_)
        if data["rows"][0]:
            both = {**data["rows"][0], 2: data["rows"][0][1]}
            tracks, masks = tracks_of(data["index"], both), np.ones((2, *SIZE), np.bool_)
        tracks = replace(tracks, detections=replace(tracks.detections, masks=masks))
        gaps.add(frame_of(data), {}, [tracks])
        out += [results[0] for _, _, results in gaps.ready()]
    assert out[1].ids.tolist() == [2, 1]
    assert out[1].detections.masks.reshape(2, -1).all(axis=1).tolist() == [True, False]


def test_a_box_that_rounding_leaves_nothing_of_is_left_out():
    """Boxes one float32 wide: of the one between, both edges are rounded to the same number."""
    gaps, out = GapFiller((1.0,), FPS), []
    for index, lefts in enumerate(([2.0**24 + 2], [], [2.0**24 + 4])):
        boxes = np.array([[left, 0, left + 2, 9] for left in lefts], np.float32).reshape(-1, 4)
        count = len(boxes)
        seen = Detections(boxes, np.ones(count, np.float32), np.zeros(count, np.int64))
        frame = Frame(index, index / FPS, np.zeros((*SIZE, 3), np.uint8))
        gaps.add(frame, {}, [Tracks(index, np.arange(1, count + 1), seen)])
        out += [results[0] for _, _, results in gaps.ready()]
    assert [len(tracks) for tracks in out] == [1, 0, 1]


def test_a_source_that_breaks_off_hands_on_what_waits_first():
    def source():
        for data in one_track([True, False, True, False]):
            yield frame_of(data), tracks_of(data["index"], data["rows"][0])
        raise SourceError("the file is cut off")

    seen = []
    with pytest.raises(SourceError, match="cut off"):
        seen.extend((frame.index, len(tracks)) for frame, tracks in fill_gaps(source(), 1.0, FPS))
    assert seen == [(0, 1), (1, 1), (2, 1), (3, 0)]
