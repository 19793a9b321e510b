"""Names that a person typed, as paths: what is there, for names that none can have as well."""

from __future__ import annotations

from pathlib import Path

DEFAULT_BACKBONE = "efficientnet-lite0"
"""The appearance model of runs that name none: small, and its weights come from a package."""


def default_bundle(backbone: str) -> Path:
    """Folder in which a backbone's bundle is looked for, and exported to."""
    return Path("bundles") / backbone


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; no for names too long or with a null byte."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether there is such a file; no for names that none can have."""
    return exists(path) and path.is_file()


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; no for names that none can have."""
    return exists(path) and path.is_dir()


def at_home(text: str) -> Path:
    """The path with `~` and `~name` in their meaning; as it is where nobody has that name."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)
