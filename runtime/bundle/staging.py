"""A bundle's folder appears in one step, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import UnitrackError
from ..paths import lock_folder, unlock_folder
from .bundle import SPEC_FILE


def check_replaceable(output: Path, failure: type[UnitrackError], *, force: bool) -> None:
    """Refuse a folder that is there already, unless it is a bundle and the user gave `--force`.

    Args:
        output: Where a bundle is to be written.
        failure: What to raise.
        force: Whether a bundle may be replaced.
    """
    if not output.exists():
        return
    if not force:
        raise failure(f"{output} already exists: add --force to replace it, or choose --output")
    # --force deletes a whole folder, which must not be a folder of anything else.
    if not output.is_dir() or (any(output.iterdir()) and not (output / SPEC_FILE).is_file()):
        raise failure(
            f"{output} is not a bundle (no {SPEC_FILE} in it) and is not replaced: "
            "choose another --output, or remove it yourself"
        )


@contextmanager
def partial_folder(output: Path, failure: type[UnitrackError]) -> Iterator[Path]:
    """A temporary folder beside `output`, gone afterwards whatever happens.

    Args:
        output: Where its contents are meant to go; see `move_into_place`.
        failure: Raised when the system refuses to write, or another process writes it now.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(output, failure)
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
        lock = lock_folder(folder)
    except OSError as error:
        raise failure(
            f"cannot write next to {output}: {error.strerror}; choose another --output"
        ) from error
    try:
        yield folder
    except OSError as error:
        raise failure(
            f"writing the bundle {output} failed: {error.strerror}; nothing was kept"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            unlock_folder(lock)


def _remove_stale(output: Path, failure: type[UnitrackError]) -> None:
    """Remove what processes that were killed left behind."""
    for stale in output.parent.glob(f".{output.name}.partial-*"):
        lock = lock_folder(stale)
        if lock is None:
            raise failure(
                f"another command is writing {output} at this moment: wait for it, or choose "
                "another --output"
            )
        shutil.rmtree(stale, ignore_errors=True)
        unlock_folder(lock)


def move_into_place(folder: Path, output: Path) -> None:
    """Make a partial folder the bundle `output`, in place of what is there."""
    folder.chmod(0o755)
    # A folder cannot be renamed over a full one: the old bundle steps aside first, and comes back
    # if the new one cannot take its place.
    aside = output.with_name(f".{output.name}.partial-old-{os.getpid()}")
    if output.exists():
        output.rename(aside)
    try:
        folder.rename(output)
    finally:
        if aside.exists() and not output.exists():
            aside.rename(output)
    shutil.rmtree(aside, ignore_errors=True)
