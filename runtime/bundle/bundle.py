"""Bundles: what `cli export` writes and everything else reads."""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import BundleError
from ..paths import exists, is_file
from .spec import BundleSpec, GraphSpec

SPEC_FILE = "bundle.json"


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder of graphs that was checked against its own `bundle.json`.

    Attributes:
        path: The folder.
        spec: Its `bundle.json`.
    """

    path: Path
    spec: BundleSpec

    @staticmethod
    def load(path: Path) -> Bundle:
        """Read a bundle and check every file against the recorded sha256.

        Raises:
            BundleError: No bundle there, or it is incomplete, changed, or of another version.
        """
        spec_path = path / SPEC_FILE
        if not is_file(spec_path):
            what = "does not exist" if not exists(path) else f"holds no {SPEC_FILE}"
            raise BundleError(
                f"bundle {path} {what}: write one with `cli export --backbone NAME --output {path}`"
                " (of a detector: --detector NAME)"
            )
        try:
            data = json.loads(spec_path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(
                f"bundle {path}: {SPEC_FILE} cannot be read ({error}): "
                "write it again with `cli export --force`"
            ) from error
        spec = BundleSpec.from_json(data, str(path))
        for graph in spec.graphs.values():
            _check_file(path, graph)
        return Bundle(path, spec)

    def graph(self, name: str) -> GraphSpec:
        """The spec of a graph.

        Raises:
            BundleError: The bundle has no such graph.
        """
        if name not in self.spec.graphs and self.spec.kind != "backbone":
            raise BundleError(
                f"bundle {self.path} is of the {self.spec.kind} model {self.spec.backbone} and has "
                f"no graph {name}: give it as {self.spec.flags}, and a backbone's bundle as "
                "--bundle"
            )
        if name not in self.spec.graphs:
            raise BundleError(
                f"bundle {self.path} has no graph {name} (it has {', '.join(self.spec.graphs)}): "
                f"write it again with `cli export --backbone {self.spec.backbone} --force`"
            )
        return self.spec.graphs[name]


def _check_file(folder: Path, graph: GraphSpec) -> None:
    # A bundle may come from elsewhere: its spec must not lead out of its folder.
    if not re.fullmatch(r"\w[\w.-]*", graph.file):
        raise BundleError(
            f"bundle {folder}: graph {graph.name!r} names {graph.file!r}, not a plain file "
            "name: write the bundle again with `cli export --force`"
        )
    path = folder / graph.file
    try:
        size = path.stat().st_size
        got = sha256_of(path) if size == graph.size_bytes else ""
    except OSError as error:
        raise BundleError(
            f"bundle {folder}: {graph.file} is missing or unreadable ({error.strerror}): "
            "write it again with `cli export --force`"
        ) from error
    if size != graph.size_bytes or got != graph.sha256:
        what = (
            f"has {size} bytes, expected {graph.size_bytes}"
            if size != graph.size_bytes
            else f"has sha256 {got[:12]}…, expected {graph.sha256[:12]}…"
        )
        raise BundleError(
            f"bundle {folder}: {graph.file} {what}; it was cut short or changed: "
            "copy it again, or write it again with `cli export --force`"
        )
    if _has_external_data(path):
        raise BundleError(
            f"bundle {folder}: {graph.file} keeps weights in another file, which its sha256 does "
            "not cover: write the bundle again with `cli export --force`"
        )


# The beginning of ONNX's StringStringEntryProto with the key that names the file of a tensor.
_EXTERNAL = b"\x0a\x08location\x12"


def _has_external_data(path: Path) -> bool:
    if path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_EXTERNAL) >= 0
