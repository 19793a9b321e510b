"""Small data sets in the official layouts, and the results of an imagined tracker."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from unitrack_edge.runtime.formats.rle import encode_rle


def write_images(folder, numbers, size_hw=(24, 32), digits=6, ending="jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image = np.full((*size_hw, 3), number % 251, np.uint8)
        cv2.imwrite(str(folder / f"{number:0{digits}d}.{ending}"), image)


def write_rows(path: Path, rows, separator=",", end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(
        separator.join(f"{v:g}" if v != int(v) else f"{int(v)}" for v in row) + end for row in rows
    )
    path.write_bytes(text.encode())


def mot_walk(seed, frames=20, objects=6, labels=(1,)):
    """Truth with flags, classes and visibilities, and noisy results: missed, false, switched."""
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(0, 300, (objects, 2)), rng.normal(0, 4, (objects, 2))
    sizes = rng.uniform(30, 80, (objects, 2))
    kinds = rng.choice(labels, objects)
    truth, results = [], []
    for frame in range(1, frames + 1):
        for k in range(objects):
            if rng.random() < 0.1:
                continue
            x, y = start[k] + speed[k] * frame
            box = [round(float(v), 2) for v in (x, y, *sizes[k])]
            flag = 0 if k == objects - 1 else 1
            truth.append([frame, k + 1, *box, flag, int(kinds[k]), 1])
            if rng.random() < 0.85:
                moved = [round(v + float(rng.normal(0, 4)), 2) for v in box]
                identity = k + 1 if frame < frames // 2 or k % 2 else k + 21
                results.append([frame, identity, *moved[:2], *box[2:], 0.9, -1, -1, -1])
        if rng.random() < 0.4:
            results.append([frame, 99, 400, 300, 40, 50, 0.5, -1, -1, -1])
    return truth, results


def write_mot(root, name, truth, frames, images=False, **text):
    folder = root / name
    write_rows(folder / "gt" / "gt.txt", truth, **text)
    info = f"[Sequence]\nname={name}\nimDir=img1\nframeRate=30\nseqLength={frames}\n"
    (folder / "seqinfo.ini").write_text(info)
    if images:
        write_images(folder / "img1", range(1, frames + 1))
    return folder


def mots_walk(seed, frames=12, first=1, labels=(2,), size_hw=(40, 60)):
    """MOTS rows of squares that walk: truth with a region to ignore, and noisy results."""
    rng = np.random.default_rng(seed)
    truth, results = [], []
    height, width = size_hw
    place = f"{height} {width}"
    for frame in range(first, first + frames):
        free = np.ones(size_hw, np.bool_)
        free_result = np.ones(size_hw, np.bool_)
        region = np.zeros(size_hw, np.bool_)
        region[30:, 40:] = True
        for k, label in enumerate(labels):
            for n in range(2):
                x, y = (5 + frame + 14 * k + 18 * n) % (width - 12), 4 + 9 * k + 3 * n
                mask = np.zeros(size_hw, np.bool_)
                mask[y : y + 11, x : x + 12] = True
                mask &= free
                free &= ~mask
                identity = label * 1000 + n
                if mask.any() and rng.random() < 0.9:
                    truth.append(f"{frame} {identity} {label} {place} {encode_rle(mask)}")
                found = np.roll(mask, int(rng.integers(-1, 3)), axis=1) & free_result
                free_result &= ~found
                if found.any() and rng.random() < 0.9:
                    new = identity if frame < first + frames // 2 else identity + 7
                    results.append(f"{frame} {new} {label} {place} {encode_rle(found)}")
        region &= free
        if region.any():
            truth.append(f"{frame} 10000 10 {place} {encode_rle(region)}")
        inside = np.zeros(size_hw, np.bool_)
        inside[33:38, 45:55] = True
        inside &= free_result
        if inside.any():
            results.append(f"{frame} 9999 {labels[0]} {place} {encode_rle(inside)}")
    return truth, results


def write_lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def pose_file(people, images, *, offset=0.0, drop=(), track=None, sizes=True):
    """PoseTrack18 JSON of people who walk to the right; a person is nine joints around a place."""
    annotations = []
    for frame, image in enumerate(images):
        for k in range(people):
            if (frame, k) in drop:
                continue
            joints = [0.0] * 51
            for n, joint in enumerate((1, 2, 5, 6, 11, 12, 13, 14, 15)):
                joints[3 * joint : 3 * joint + 3] = [
                    20 + 40 * k + 2 * frame + (n % 3) * 6 + offset,
                    50 - 5 * n + offset,
                    1,
                ]
            person = {
                "image_id": image["id"],
                "track_id": track(k, frame) if track else k,
                "keypoints": joints,
            }
            if sizes:
                person["bbox_head"] = [0, 0, 6, 8]
            annotations.append({"id": len(annotations), "category_id": 1, **person})
    return {"images": images, "annotations": annotations, "categories": []}


def pose_images(name, frames, first=1000):
    return [
        {"id": first + n, "file_name": f"images/val/{name}/{n:06d}.jpg", "is_labeled": True}
        for n in range(frames)
    ]


def write_json(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def write_small_data(root):
    """One sequence a task (but mots), of images with something to see."""
    rng = np.random.default_rng(0)
    scene = cv2.GaussianBlur(rng.uniform(0, 255, (96, 128, 3)), (0, 0), 3).astype(np.uint8)
    figure = cv2.resize(rng.integers(0, 255, (8, 6, 3)).astype(np.uint8), (24, 40))
    folders = {
        "sot": root / "sot" / "Car" / "img", "vos": root / "vos" / "JPEGImages" / "480p" / "cow",
        "mot": root / "mot" / "A" / "img1",
        "posetrack": root / "posetrack" / "images" / "val" / "012",
    }  # fmt: skip
    places = [(20 + 3 * n, 30 + n) for n in range(4)]
    for task, folder in folders.items():
        folder.mkdir(parents=True)
        first = 0 if task in ("vos", "posetrack") else 1
        for n, (x, y) in enumerate(places):
            canvas = scene.copy()
            canvas[y : y + 40, x : x + 24] = figure
            cv2.imwrite(str(folder / f"{n + first:06d}.png"), canvas)
    boxes = [[x + 1, y + 1, 24, 40] for x, y in places]
    write_rows(root / "sot" / "Car" / "groundtruth_rect.txt", boxes)
    masks = root / "vos" / "Annotations" / "480p" / "cow"
    masks.mkdir(parents=True)
    for n, (x, y) in enumerate(places):
        mask = np.zeros((96, 128), np.uint8)
        mask[y : y + 40, x : x + 24] = 255
        cv2.imwrite(str(masks / f"{n:06d}.png"), mask)
    rows = [[n + 1, 1, *box, 1, 1, 1] for n, box in enumerate(boxes)]
    write_mot(root / "mot", "A", rows, 4)
    write_rows(root / "mot" / "A" / "det" / "det.txt", [[r[0], -1, *r[2:6], 1] for r in rows])
    images = pose_images("012", 4)
    for image in images:
        image["file_name"] = image["file_name"].replace("jpg", "png")
    write_json(root / "posetrack" / "annotations" / "val" / "012.json", pose_file(2, images))
    write_json(root / "det" / "012.json", pose_file(2, images))
    return root
