"""Kernels that TensorRT-RTX compiled as an engine ran, kept for the next run.

They lie in the user's cache folder, under the sha256 of the engine, and not in the bundle: what
lies there is compared with its sha256, and these are code that changes as shapes come.
TensorRT-RTX itself checks that they are of this GPU, driver and version, and takes none that are
not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...paths import cache_folder
from ..base import OBJECT_AXES


class KernelCache:
    """The kernels of one engine.

    Args:
        sha256: Of the engine.
        dimensions: Names of the graph's dynamic dimensions.
        folder: Where kernels of all engines are; None: in the user's cache folder.

    Attributes:
        shapes_stay: Whether a run has the same few shapes in every frame.
        problem: Why kernels are compiled again or not kept; None where all is well.
    """

    def __init__(self, sha256: str, dimensions: frozenset[str], folder: Path | None = None) -> None:
        self.shapes_stay = not dimensions & OBJECT_AXES
        self.problem: str | None = None
        self._path = (folder or cache_folder() / "tensorrt-rtx") / f"{sha256}.kernels"
        self._cache: Any = None
        self._kept = b""

    def attach(self, config: Any) -> None:
        """Have a runtime configuration use the kernels; they are read at the first one."""
        if self._cache is None:
            self._cache = config.create_runtime_cache()
            self._load()
        config.set_runtime_cache(self._cache)

    def _load(self) -> None:
        try:
            self._kept = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            self.problem = f"{self._path} cannot be read ({error.strerror})"
            return
        # False where it is damaged or of another machine: the cache is then as it was, empty.
        if not self._cache.deserialize(self._kept):
            self._kept = b""
            self.problem = f"{self._path} is damaged or of another GPU or driver, and is replaced"

    def save(self) -> None:
        """Keep what was compiled since; a folder that cannot be written to costs the next start."""
        blob = None if self._cache is None else self._cache.serialize()
        data = b"" if blob is None else bytes(blob)
        self._cache = None
        if not data or data == self._kept:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(".partial")
            partial.write_bytes(data)
            partial.replace(self._path)
        except OSError as error:
            self.problem = f"{self._path} cannot be written ({error.strerror})"
