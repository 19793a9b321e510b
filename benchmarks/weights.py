"""Which weights both sides of a benchmark use: the same file, or none at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import ExportError
from ..export.backbones.table import find_backbone
from ..export.bundle_writer import ExportRequest, write_bundle
from ..runtime.inference.runner import GraphRunner
from .script import Script

DEFAULT = Path(__file__).parents[1].parent / "shared/models/resnet18_imagenet_layer3.pth"


def add_options(script: Script) -> None:
    """Give a script the options that say which network is compared."""
    script.add_argument(
        "--backbone",
        choices=("imagenet-r18", "random-r18"),
        default="imagenet-r18",
        help="the ResNet-18 (default: %(default)s)",
    )
    script.add_argument(
        "--weights",
        type=Path,
        default=DEFAULT,
        help=f"checkpoint of imagenet-r18 (default: ../shared/models/{DEFAULT.name})",
    )


def weights_of(backbone: str, weights: Path) -> Path | None:
    """The checkpoint to use; None for random weights, which must have been asked for.

    Raises:
        ExportError: There is no such file.
    """
    if find_backbone(backbone).source == "random":
        return None
    if not weights.is_file():
        raise ExportError(
            f"no checkpoint at {weights}: give one with --weights, or measure an untrained "
            "network with --backbone random-r18"
        )
    return weights


@contextmanager
def bundled(backbone: str, weights: Path | None, threads: int) -> Iterator[GraphRunner]:
    """The graphs of a freshly exported bundle on ONNX Runtime's CPU backend."""
    with TemporaryDirectory() as folder:
        bundle = write_bundle(ExportRequest(backbone, weights=weights), Path(folder) / backbone)
        with GraphRunner(bundle, "cpu", threads) as graphs:
            yield graphs
