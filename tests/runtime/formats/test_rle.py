from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from unitrack_edge.errors import DetectionError
from unitrack_edge.runtime.formats.rle import MAX_PIXELS, decode_rle, encode_rle, rle_counts

from ...reference import rle_plain

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(MASKS)
def test_agrees_with_the_plain_version_and_comes_back(mask):
    text = encode_rle(mask)
    assert text == rle_plain.encode(mask)
    assert (rle_plain.decode(text, *mask.shape) == mask).all()
    back = decode_rle(text, mask.shape)
    assert back.dtype == np.bool_
    assert back.flags.c_contiguous
    assert (back == mask).all()


@given(st.lists(st.integers(0, 20_000), min_size=1, max_size=30))
def test_long_runs_agree_with_pycocotools(runs):
    coco = pytest.importorskip("pycocotools.mask")
    height = 300
    width = -(-sum(runs) // height) + 1
    flat = np.zeros(height * width, np.bool_)
    flat[: sum(runs)] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    mask = flat.reshape(width, height).T
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    assert encode_rle(mask) == theirs.decode()
    assert (decode_rle(theirs, mask.shape) == mask).all()


@pytest.mark.parametrize("value", [False, True])
def test_masks_of_one_value(value):
    mask = np.full((3, 5), value)
    assert encode_rle(mask) == ("0?" if value else "?")
    assert (decode_rle(encode_rle(mask), (3, 5)) == mask).all()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty"),
        ("3 ", "character 2"),
        ("3p", "character 2"),
        ("é", "character 1"),
        ("3o", "breaks off"),
        ("oooooooo0", "35 bits"),
        ("5", "add up to 5"),
        ("O0:", "shortest -1"),
        (":0", "add up to 10"),
    ],
)
def test_damaged_strings(text, problem):
    with pytest.raises(DetectionError, match=problem):
        decode_rle(text, (3, 3))


def test_counts_that_cancel_out_are_refused():
    # 8 − 3 + 4 = 9 pixels in sum, none of them more than 9, and still no mask.
    with pytest.raises(DetectionError, match="shortest -3"):
        decode_rle("8M4", (3, 3))


@pytest.mark.parametrize("size_hw", [(0, 4), (4, -1), (MAX_PIXELS, 2), (10**9, 10**9)])
def test_impossible_sizes_are_refused_before_memory_is_taken(size_hw):
    with pytest.raises(DetectionError, match="pixels"):
        decode_rle("9", size_hw)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=40))
def test_any_string_gives_a_mask_or_an_error(text):
    try:
        counts = rle_counts(text, (6, 7))
    except DetectionError:
        return
    assert counts.sum() == 42
    assert decode_rle(text, (6, 7)).sum() == counts[1::2].sum()


def test_encoding_refuses_other_arrays():
    with pytest.raises(DetectionError, match="uint8"):
        encode_rle(np.zeros((2, 2), np.uint8))
    with pytest.raises(DetectionError, match="pixels"):
        encode_rle(np.zeros((0, 2), np.bool_))
