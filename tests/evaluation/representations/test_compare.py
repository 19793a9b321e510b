"""`cli compare`: ranks and correlations by hand, its files, and the command as a user runs it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, RequestError
from unitrack_edge.evaluation.metrics.scores import Score
from unitrack_edge.evaluation.representations.comparison import (
    Comparison,
    correlate,
    rank_table,
    read_accuracy,
    task_table,
    to_csv,
)
from unitrack_edge.evaluation.representations.files import comparison_page
from unitrack_edge.evaluation.runner.report import Row
from unitrack_edge.heads import config as tracked_config
from unitrack_edge.heads.association import similarity
from unitrack_edge.heads.association.tracklets import ObjectFeatures
from unitrack_edge.heads.config import MotConfig, MotsConfig, PosetrackConfig
from unitrack_edge.runtime.tables import TextTable, markdown

from ...support.command_line import run_cli
from ...support.eval_data import write_small_data

trackeval = pytest.importorskip("trackeval", reason="scoring is TrackEval's: extra 'eval'")


def rows(**values):
    return [Row("combined", "", Score(values), 10)]


@pytest.fixture
def comparison():
    """Three representations; the third has no score in the second task."""
    return Comparison(
        ("a", "b", "c"),
        ("sot", "vos"),
        {
            ("a", "sot"): rows(AUC=0.5, NP=0.9),
            ("b", "sot"): rows(AUC=0.6, NP=0.8),
            ("c", "sot"): rows(AUC=0.5, NP=0.7),
            ("a", "vos"): rows(**{"J&F": 0.7}),
            ("b", "vos"): rows(**{"J&F": 0.4}),
        },
    )


def test_ranks_by_hand(comparison):
    assert comparison.ranks("sot") == {"a": 2.5, "b": 1, "c": 2.5}
    assert comparison.ranks("vos") == {"a": 1, "b": 2}
    assert comparison.mean_ranks() == {"a": 1.75, "b": 1.5, "c": 2.5}
    assert comparison.in_order() == ["b", "a", "c"]


def test_a_headline_is_the_mean_over_classes():
    lines = [Row("combined", name, Score({"IDF1": v}, name), 3) for name, v in
             (("car", 0.8), ("pedestrian", 0.5))]  # fmt: skip
    compared = Comparison(("a",), ("mots",), {("a", "mots"): lines})
    assert compared.headline("a", "mots") == pytest.approx(0.65)
    table = task_table(compared, "mots")
    assert table.head == ["", "IDF1 car", "IDF1 pedestrian"]
    assert table.rows == [["a", "0.800", "0.500"]]


def test_tables(comparison):
    table = rank_table(comparison)
    lines = table.rows
    assert table.head == ["", "sot AUC", "vos J&F", "mean rank"]
    assert lines[0] == ["b", "0.600 (1)", "0.400 (2)", "1.50"]
    assert lines[2] == ["c", "0.500 (2.5)", "–", "2.50"]
    assert markdown(table).splitlines()[1] == "| --- | ---: | ---: | ---: |"
    assert [line[0] for line in task_table(comparison, "sot").rows] == ["b", "a", "c"]
    found = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert [row["name"] for row in found] == ["b", "a", "c"]
    assert found[1] == {"name": "a", "mean rank": "1.75", "sot AUC": "0.5", "sot NP": "0.9",
                        "vos J&F": "0.7"}  # fmt: skip
    assert found[2]["vos J&F"] == ""


def test_correlations_by_hand():
    scores = {"a": 0.1, "b": 0.2, "c": 0.4, "d": 0.3}
    compared = Comparison(
        tuple(scores), ("sot",), {(name, "sot"): rows(AUC=v) for name, v in scores.items()}
    )
    accuracy = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 10.0, "e": 7.0}
    (found,) = correlate(compared, accuracy)
    assert set(found.points) == set("abcd")
    # Ranks 1 2 4 3 against 1 2 3 4: 1 - 6 · 2 / (4 · 15).
    assert found.spearman == pytest.approx(0.8)
    x, y = np.array([1, 2, 3, 10.0]), np.array([0.1, 0.2, 0.4, 0.3])
    x, y = x - x.mean(), y - y.mean()
    assert found.pearson == pytest.approx((x @ y) / math.sqrt((x @ x) * (y @ y)))
    (few,) = correlate(compared, {"a": 1.0, "b": 2.0})
    assert math.isnan(few.pearson)


def test_accuracy_files(tmp_path):
    path = tmp_path / "top1.csv"
    path.write_text("name,top-1\r\nimagenet-r18, 69.8\r\n\r\nrandom-r18,0.1\r\n")
    assert read_accuracy(path) == {"imagenet-r18": 69.8, "random-r18": 0.1}
    path.write_text("a,1\nb,much\n")
    with pytest.raises(DetectionError, match=r"line 2: got 'b,much', expected name,number"):
        read_accuracy(path)
    with pytest.raises(DetectionError, match="cannot be read"):
        read_accuracy(tmp_path / "absent.csv")


class Page(HTMLParser):
    """What a page refers to, and the tags that are still open at its end."""

    def __init__(self, text):
        super().__init__()
        self.references, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.references += [
            v for k, v in attributes if k in ("src", "href", "xlink:href") and not v.startswith("#")
        ]
        assert tag not in ("script", "link", "iframe")

    def handle_data(self, data):
        self.words.append(data.strip())


def test_the_page_refers_to_nothing_and_escapes_names():
    table = TextTable(["", "x"], [["<script>alert(1)</script>", "a & b"]])
    text = comparison_page("T<>", {"data": "<b>"}, {"Ranks": table}, {}, ["n<o>te"])
    page = Page(text)
    assert page.references == []
    assert "<script>alert(1)</script>" in page.words
    assert "n<o>te" in page.words


# The ablation of the metric.


def features(seed, count, points=5, empty=()):
    rng = np.random.default_rng(seed)
    stack = rng.standard_normal((count, points, 16))
    stack /= np.linalg.norm(stack, axis=2, keepdims=True)
    mask = np.ones((count, points), np.float32)
    mask[:, -1] = 0
    mask[list(empty)] = 0
    return ObjectFeatures(stack.astype(np.float32), mask)


def plain_cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_pooled_and_flattened_costs_by_definition():
    tracks, detections = features(0, 4), features(1, 3)
    scale = np.array([100], np.float32)
    pooled = similarity.SIMILARITIES["pooled"](None, tracks, detections, scale)
    flat = similarity.SIMILARITIES["flattened"](None, tracks, detections, scale)
    for i in range(4):
        for j in range(3):
            t, d = tracks.points[i, :4].astype(float), detections.points[j, :4].astype(float)
            assert pooled[i, j] == pytest.approx(1 - plain_cosine(t.mean(0), d.mean(0)), abs=1e-6)
            assert flat[i, j] == pytest.approx(1 - plain_cosine(t.ravel(), d.ravel()), abs=1e-6)
    same = similarity.SIMILARITIES["flattened"](None, tracks, tracks, scale)
    assert np.diag(same) == pytest.approx(np.zeros(4), abs=1e-6)


def test_an_object_without_points_is_like_nothing():
    tracks, detections = features(0, 3, empty=[1]), features(1, 2)
    for name in ("pooled", "flattened"):
        cost = similarity.SIMILARITIES[name](None, tracks, detections, np.ones(1, np.float32))
        assert (cost[1] == 1).all()
        assert np.isfinite(cost).all()


def test_similarities_of_the_heads_parameters():
    assert tuple(similarity.SIMILARITIES) == tracked_config.SIMILARITIES
    assert MotConfig(similarity="flattened").similarity == "flattened"
    with pytest.raises(RequestError, match="expected one of rsm, pooled, flattened"):
        MotConfig(similarity="cosine")
    for config in (MotsConfig, PosetrackConfig):
        with pytest.raises(RequestError, match="as many points each"):
            config(similarity="flattened")


# The command.


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    return write_small_data(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def compared(small_data, quick_bundle, tmp_path_factory):
    """Two bundles (the same graphs) in three tasks, with the ablation and an accuracy."""
    pytest.importorskip("matplotlib", reason="images are matplotlib's: extra 'eval'")
    root = tmp_path_factory.mktemp("compare")
    names = ["first", "second"]
    for name in names:
        shutil.copytree(quick_bundle.path, root / name)
    (root / "top1.csv").write_text(
        "".join(f"{n} {s},{v}\n" for v, (n, s) in enumerate(
            (n, s) for n in names for s in ("rsm", "pooled")
        ))
    )  # fmt: skip
    said = run_cli(
        "compare", *(v for n in names for v in ("--backbone", root / n)),
        *("--data", f"sot={small_data / 'sot'}", "--data", f"vos={small_data / 'vos'}"),
        *("--data", f"mot={small_data / 'mot'}", "--similarity", "rsm", "--similarity", "pooled"),
        *("--accuracy", root / "top1.csv", "--accuracy-label", "top-1"),
        *("--output", root / "out", "--max-frames", "3"),
    )  # fmt: skip
    return root, said


def test_the_table(compared):
    _, said = compared
    lines = said.splitlines()
    assert re.split(r"\s{2,}", lines[0].strip()) == ["sot AUC", "vos J&F", "mot IDF1", "mean rank"]
    names = {line.split("  ")[0] for line in lines[1:5]}
    assert names == {"first rsm", "first pooled", "second rsm", "second pooled"}
    # The same graphs: nobody is before the other.
    assert all("(2.5)" in line for line in lines[1:5])
    assert lines[5] == ""
    assert lines[6].split() == ["task", "points", "Pearson", "Spearman"]


def test_all_files_are_there(compared):
    root, _ = compared
    out = root / "out"
    names = {path.name for path in out.iterdir()}
    assert names == {"comparison.csv", "comparison.md", "comparison.html", "ranks.png", "ranks.svg",
                     "correlation.png", "correlation.svg", "work"}  # fmt: skip
    for stem in ("ranks", "correlation"):
        image = cv2.imread(str(out / f"{stem}.png"))
        assert image.std() > 10
    page = Page((out / "comparison.html").read_text())
    assert page.references == []
    assert {"Ranks", "Correlation with top-1", "mot (by IDF1)"} <= set(page.words)
    assert (out / "comparison.html").read_text().count("<svg") == 2
    found = list(csv.DictReader((out / "comparison.csv").open()))
    assert len(found) == 4
    assert {"sot AUC", "vos F decay", "mot IDs"} <= set(found[0])


def test_propagation_is_not_done_again_for_another_similarity(compared):
    work = compared[0] / "out" / "work" / "first"
    assert {path.name for path in work.iterdir()} == {
        "sot-dcf", "vos", "mot-no-motion-rsm", "mot-no-motion-pooled",
    }  # fmt: skip


def test_motion_cues_are_off(compared):
    records = (compared[0] / "out" / "work").glob("*/mot-*/records/*.json")
    parameters = [json.loads(path.read_text())["what"]["parameters"] for path in records]
    assert [one["use_motion"] for one in parameters] == [False] * 4
    assert {one["similarity"] for one in parameters} == {"rsm", "pooled"}


def test_the_same_scores_give_the_same_files(compared, small_data):
    root, _ = compared
    out = root / "out"
    files = ("comparison.csv", "comparison.md", "comparison.html", "ranks.png", "ranks.svg")
    before = {name: (out / name).read_bytes() for name in files}
    run_cli(
        "compare", "--backbone", root / "first", "--backbone", root / "second",
        "--data", f"sot={small_data / 'sot'}", "--data", f"vos={small_data / 'vos'}",
        "--data", f"mot={small_data / 'mot'}", "--similarity", "rsm", "--similarity", "pooled",
        "--accuracy", root / "top1.csv", "--accuracy-label", "top-1", "--output", out,
        "--max-frames", "3",
    )  # fmt: skip
    assert {name: (out / name).read_bytes() for name in files} == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--data", "nowhere"), 2, "--data nowhere: expected TASK=ROOT"),
        (("--data", "sot={}/sot", "--task", "vos"), 2, "--task vos: give its data"),
        (("--data", "sot={}/sot", "--sequence", "Nobody"), 2, "--sequence Nobody: no such"),
        (("--data", "{}", "--sequence", "Car", "--accuracy", "no.csv"), 1, "--accuracy no.csv"),
        (("--data", "sot={}/sot", "--backbone", "no-such"), 2, "no-such"),
    ],
)
def test_wrong_requests(small_data, arguments, status, message):
    arguments = [text.format(small_data) for text in arguments]
    if "--backbone" not in arguments:
        arguments += ["--backbone", "random-r18"]
    assert message in run_cli("compare", *arguments, status=status)
