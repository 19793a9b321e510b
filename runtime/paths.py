"""Names that a person typed, as paths: what is there, for names that none can have as well."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

DEFAULT_BACKBONE = "efficientnet-lite0"
"""The appearance model of runs that name none: small, and its weights come from a package."""


DEFAULT_DETECTOR = "movenet"
"""What finds the objects of runs that name no detector: people, with their poses."""

DEFAULT_MASK_MODEL = "blazepose"
"""What finds the masks in the default detector's boxes."""


def default_bundle(backbone: str) -> Path:
    """Folder in which a backbone's bundle is looked for, and exported to."""
    return Path("bundles") / backbone


def model_name(model: str | Path) -> str | None:
    """The name that a detector, pose or mask model was asked for by; None for the path of a file.

    A name has neither a folder nor a suffix, and no model in the current folder is called so.
    """
    path = Path(model)
    named = len(path.parts) == 1 and not path.suffix and not is_model(path)
    return str(model) if named else None


def model_file(model: str | Path) -> Path:
    """Where a detector, pose or mask model is.

    Of a name: its bundle bundles/detectors/NAME if there is one, else bundles/detectors/NAME.onnx.
    """
    name = model_name(model)
    if name is None:
        return Path(model)
    bundle = default_model(name)
    return bundle if is_model(bundle) else Path(f"{bundle}.onnx")


def default_model(name: str) -> Path:
    """Folder in which a detector's bundle is looked for, and exported to."""
    return Path("bundles") / "detectors" / name


def is_model(path: Path) -> bool:
    """Whether there is such a file, or a bundle in such a folder."""
    return is_file(path) or is_file(path / "bundle.json")


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; no for names too long or with a null byte."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether there is such a file; no for names that none can have."""
    return exists(path) and path.is_file()


def leads_out(name: str) -> bool:
    """Whether a name that a file gives, below a folder, is of something outside of that folder.

    Data sets are passed around: what they say must not choose which other files are read. Links in
    a folder are followed, those its owner has made.
    """
    path = Path(os.path.normpath(name))
    return path.is_absolute() or path.parts[:1] == (os.pardir,)


def unwritable(path: Path) -> Path | None:
    """The nearest folder above a path, where nothing can be made in it; None: something can."""
    place = next(parent for parent in path.absolute().parents if exists(parent))
    return None if place.is_dir() and os.access(place, os.W_OK | os.X_OK) else place


def is_same(one: Path, other: Path) -> bool:
    """Whether both are there, and are the same file or folder."""
    return exists(one) and exists(other) and one.samefile(other)


def check_regular(path: Path) -> None:
    """Refuse what is neither a file nor a folder: a pipe may never end to be opened, a device never
    to be read.

    Raises:
        OSError: It is a pipe, a socket or a device, or as `Path.stat`.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "a pipe, a socket or a device; expected a file", str(path))


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; no for names that none can have."""
    return exists(path) and path.is_dir()


def at_home(text: str) -> Path:
    """The path with `~` and `~name` expanded; unchanged where no user has that name."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def cache_folder() -> Path:
    """`$UNITRACK_CACHE`, or `~/.cache/unitrack-edge`; it need not exist yet."""
    chosen = os.environ.get("UNITRACK_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "unitrack-edge"


def lock_folder(folder: Path) -> int | None:
    """Take a folder for this process; the system gives it back when the process ends.

    Nothing is written. File systems that know no locks, and Windows, let everybody have it.

    Returns:
        What `unlock_folder` takes; None: another process has it, or this one already.

    Raises:
        OSError: The folder cannot be opened.
    """
    try:
        import fcntl
    except ImportError:
        return -1
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def unlock_folder(lock: int) -> None:
    """Give a folder back that `lock_folder` took."""
    if lock >= 0:
        os.close(lock)
