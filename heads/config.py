"""Parameters of every head; light to import, because the command line lists them all.

The help text of a parameter is its metadata: `cli track --<task>-<parameter>` is made from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import inf, isfinite
from typing import Any, ClassVar

from ..errors import RequestError

SIMILARITIES = ("rsm", "pooled", "flattened")
"""How the appearance of two objects is compared; see `similarity.SIMILARITIES`."""


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """Parameters of a task; the name of the task is a class attribute."""

    task: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse a value that is none of its parameter's choices.

        Raises:
            RequestError: Names the parameter and the choices.
        """
        for one in fields(self):
            value, choices = getattr(self, one.name), one.metadata.get("choices")
            if choices and value not in (one.default, *choices):
                raise RequestError(
                    f"{self.task}: got {one.name.replace('_', ' ')} {value!r}, expected one of "
                    f"{', '.join(choices)}"
                )


def _expect(config: TaskConfig, name: str, fits: bool, expected: str) -> None:
    """Refuse a parameter that does not fit, by its option's name.

    Raises:
        RequestError: It does not.
    """
    if not fits:
        flag = f"--{config.task}-{name.replace('_', '-')}"
        raise RequestError(f"{flag} {getattr(config, name)}: expected {expected}")


class PresetNumber(float):
    """A number that came with a preset: it gives way when `dataclasses.replace` sets another."""


def by_preset(text: str) -> Any:
    """A parameter whose default depends on the preset.

    Args:
        text: Its help.
    """
    return field(default=None, metadata={"help": text})


PRESETS = ("memory", "unitrack")
"""The ways to associate: by appearance memory, and the paper's with the authors' numbers."""


APPEARANCES = ("auto", "always")
"""When features are computed: of what is compared, or of every object in every frame."""

BETWEEN = ("motion", "appearance")
"""What tracks go by in frames without detections."""

CAMERA_MOTIONS = ("auto", "off", "flow")
"""Whether tracks follow the camera: where it moves, never, or in every frame."""

NETWORK_HW = 608, 1088
"""Height and width of the authors' network image."""

CLASSES = ("together", "apart")
"""Whether detections of another class may join a track."""


@dataclass(frozen=True, slots=True)
class TrackedConfig(TaskConfig):
    """Parameters of a task that gives identities to detections.

    A parameter that is not given, or is None, takes the number of the preset in `presets`; one that
    the preset does not have stays None. Those of preset unitrack, and what both presets share, are
    the authors' for boxes and masks.
    """

    presets: ClassVar[dict[str, dict[str, float]]] = {
        "memory": {
            "appearance_weight": 0.5,
            "cost_limit": 0.75,
            "buffer": 60.0,
            "low_confidence": 0.1,
            "start_confidence": 0.6,
            "memory": 5.0,
        },
        "unitrack": {"appearance_weight": 0.98, "cost_limit": 0.7, "buffer": 30.0},
    }

    preset: str = field(
        default="memory",
        metadata={
            "help": "How detections get identities: memory, by several features a track and by "
            "overlap, or unitrack, as in the paper (docs/association.md).",
            "choices": PRESETS,
        },
    )
    confidence: float = field(
        default=0.5,
        metadata={
            "help": "Detections below this score are left out; preset memory: are not compared by "
            "appearance."
        },
    )
    low_confidence: float | None = by_preset(
        "Preset memory: detections from this score on are matched by overlap."
    )
    start_confidence: float | None = by_preset("Preset memory: tracks start from this score on.")
    appearance_weight: float = by_preset(
        "Share of appearance, 0 to 1, against motion; preset memory: against overlap."
    )
    cost_limit: float = by_preset("Largest cost of a match by appearance and motion or overlap.")
    overlap_limit: float = field(
        default=0.5, metadata={"help": "Largest 1 - IoU of a match by overlap."}
    )
    duplicate_limit: float = field(
        default=0.15, metadata={"help": "A found and a lost track nearer than this are one."}
    )
    buffer: float = by_preset("Frames a lost track is kept, counted at 30 FPS.")
    memory: float | None = by_preset("Preset memory: features kept of a track, 0.2 s apart.")
    use_motion: bool = field(
        default=True,
        metadata={
            "help": "Motion and overlap count too; off: appearance alone (preset unitrack only)."
        },
    )
    classes: str = field(
        default="together",
        metadata={
            "help": "together: a track may change its class, as detectors take a car for a truck, "
            "and reports the one of most of its matches; apart: a track has one class.",
            "choices": CLASSES,
        },
    )
    rsm_scale: float = field(
        default=100.0, metadata={"help": "Scale s of the reconstruction similarity's softmax."}
    )
    similarity: str = field(
        default="rsm",
        metadata={
            "help": "Appearance: rsm, or for comparison pooled (mean of the points) or flattened "
            "(point by point, task mot only).",
            "choices": SIMILARITIES,
        },
    )
    appearance: str | None = field(
        default=None,
        metadata={
            "help": "auto: the backbone sees only objects whose place leaves open who they are, "
            "each at the size that it needs (preset memory); always: it sees every frame, in the "
            "size of the next two.  [default: auto; always with preset unitrack or a size]",
            "choices": APPEARANCES,
        },
    )
    camera_motion: str | None = field(
        default=None,
        metadata={
            "help": "auto: tracks follow the camera where it moves, seen from what stands still "
            "(preset memory); off: it stands still; flow: it is followed in every frame.  "
            "[default: auto; off with preset unitrack and with --detector motion]",
            "choices": CAMERA_MOTIONS,
        },
    )
    fill_gaps: float = field(
        default=0.0,
        metadata={
            "help": "Files and folders: fill gaps between detections of a track, of up to so many "
            "seconds, with what lies between; such rows are marked predicted, and results come as "
            "much later (docs/association.md). 0: off. Not for mots: masks of a gap are not known.",
            "metavar": "SECONDS",
        },
    )
    between: str = field(
        default="motion",
        metadata={
            "help": "In frames without detections (--detect-every) tracks go where their motion "
            "takes them, or with appearance (preset memory), where they are seen nearby: the "
            "backbone sees every one of them in each of these frames.",
            "choices": BETWEEN,
        },
    )
    height: int = field(default=NETWORK_HW[0], metadata={"help": "Height of the network's image."})
    width: int = field(default=NETWORK_HW[1], metadata={"help": "Width of the network's image."})

    def __post_init__(self) -> None:
        TaskConfig.__post_init__(self)
        self._take_preset()
        self._check_appearance()
        if self.camera_motion not in (None, "off") and self.preset != "memory":
            raise RequestError(
                f"--{self.task}-camera-motion {self.camera_motion} belongs to "
                f"--{self.task}-preset memory, got preset {self.preset}"
            )
        _expect(self, "height", 32 <= self.height <= 8192, "32 to 8192 pixels")
        _expect(self, "width", 32 <= self.width <= 8192, "32 to 8192 pixels")
        if self.between != "motion" and self.preset != "memory":
            raise RequestError(
                f"--{self.task}-between {self.between} belongs to --{self.task}-preset memory, got "
                f"preset {self.preset}"
            )
        self._check_limits()
        if self.similarity == "flattened" and self.task != "mot":
            raise RequestError(
                f"{self.task}: similarity flattened compares objects of as many points each, which "
                "masks and poses are not: give rsm or pooled"
            )
        _expect(self, "appearance_weight", 0 <= self.appearance_weight <= 1, "0 to 1")
        _expect(self, "buffer", 0 <= self.buffer < inf, "0 or more")
        self._check_gaps()
        _expect(self, "cost_limit", 0 <= self.cost_limit < inf, "0 or more")
        _expect(self, "rsm_scale", 0 < self.rsm_scale < inf, "a number above 0")
        if not self.use_motion and self.preset != "unitrack":
            raise RequestError(
                f"{self.task}: preset {self.preset} matches by overlap too, so motion cannot be "
                "off: give preset unitrack"
            )
        fits = self.memory is None or 1 <= self.memory <= 100
        _expect(self, "memory", fits, "1 to 100 features")

    @property
    def looks_when_needed(self) -> bool:
        """Whether the backbone sees objects only when they are compared."""
        own_size = (self.height, self.width) != NETWORK_HW
        fits = self.preset == "memory" and not own_size
        return self.appearance == "auto" or (self.appearance is None and fits)

    @property
    def follows_camera(self) -> str:
        """What `camera_motion` is, where it is not given too."""
        return self.camera_motion or ("auto" if self.preset == "memory" else "off")

    def _check_gaps(self) -> None:
        flag, most_s = f"--{self.task}-fill-gaps {self.fill_gaps:.12g}", self.buffer / 30.0
        _expect(self, "fill_gaps", 0 <= self.fill_gaps < inf, "seconds of 0 or more")
        if self.fill_gaps > most_s:
            raise RequestError(
                f"{flag}: a track that is lost for longer than {most_s:.12g} s is not found again; "
                f"give at most that, or --{self.task}-buffer {self.fill_gaps * 30:.12g} too"
            )
        if self.fill_gaps and self.task == "mots":
            raise RequestError(
                f"{flag}: what lies between two masks is not known, so task mots leaves gaps open; "
                "leave it out, or track boxes with --task mot --mot-fill-gaps"
            )

    def _check_limits(self) -> None:
        """Scores may be raw numbers of any size in preset unitrack alone."""
        scores = ("confidence", "low_confidence", "start_confidence")
        raw = (
            "; preset memory takes scores as probabilities, and raw scores as odds: "
            f"--{self.task}-preset unitrack compares them as they are"
        )
        for name in ("overlap_limit", "duplicate_limit", *scores):
            value = getattr(self, name)
            flag = f"--{self.task}-{name.replace('_', '-')}"
            if name in scores and self.preset != "memory":
                if value is not None and not isfinite(value):
                    raise RequestError(f"{flag} {value}: expected a finite number")
            elif not 0 <= value <= 1:
                why = raw if name in scores else ""
                raise RequestError(f"{flag} {value:g}: expected 0 to 1{why}")

    def _check_appearance(self) -> None:
        if self.appearance != "auto":
            return
        if self.preset != "memory":
            raise RequestError(
                f"{self.task}: appearance auto belongs to preset memory, got preset {self.preset}"
            )
        if (self.height, self.width) != NETWORK_HW:
            raise RequestError(
                f"{self.task}: appearance auto sees every object at the size that it needs, got "
                f"image {self.height}x{self.width}: leave out the size, or give appearance always"
            )

    @property
    def lowest_confidence(self) -> float:
        """Detections below this score are left out."""
        return self.confidence if self.low_confidence is None else self.low_confidence

    @property
    def calibrates_scores(self) -> bool:
        """Whether scores of detection files are to be probabilities."""
        return self.preset != "unitrack"

    def _take_preset(self) -> None:
        """Give what was left alone the numbers of the preset."""
        numbers = self.presets[self.preset]
        for name in sorted({name for preset in self.presets.values() for name in preset}):
            given = getattr(self, name)
            if given is None or isinstance(given, PresetNumber):
                number = PresetNumber(numbers[name]) if name in numbers else None
                object.__setattr__(self, name, number)
            elif name not in numbers:
                raise RequestError(
                    f"--{self.task}-{name.replace('_', '-')} belongs to --{self.task}-preset "
                    f"memory, got preset {self.preset}"
                )
            else:
                _expect(self, name, isfinite(given), "a finite number")


def shown_default(config: type[Any], name: str) -> str | None:
    """What help shows as the default of a parameter that depends on the preset; None: its own."""
    if not issubclass(config, TrackedConfig):
        return None
    found = {preset: numbers[name] for preset, numbers in config.presets.items() if name in numbers}
    return ", ".join(f"{preset}: {number:g}" for preset, number in found.items()) or None


def usual_value(config: type[Any], name: str, preset: str) -> Any:
    """What a parameter is where it is not given, with a preset where the task has any."""
    default = config.__dataclass_fields__[name].default
    if default is None and issubclass(config, TrackedConfig):
        return config.presets.get(preset, {}).get(name)
    return default


def other_presets(**numbers: dict[str, float]) -> dict[str, dict[str, float]]:
    """The presets of `TrackedConfig` with some other numbers."""
    shared = TrackedConfig.presets
    return {name: {**shared[name], **numbers.get(name, {})} for name in shared}


def otherwise(name: str, default: float) -> Any:
    """The field `name` of `TrackedConfig` with another default."""
    return field(default=default, metadata=TrackedConfig.__dataclass_fields__[name].metadata)


FOCUS = ("auto", "off")
"""Whether a task looks only as closely as its objects need."""

SOT_HEADS = ("dcf", "xcorr")

SCALE_STEP, SCALE_PENALTY = 1.0275, 0.985

SOT_CROP, SOT_MARGIN = 232, 1.2
"""With focus: pixels of a crop's side, 29 cells, of which 13 lie along the target; and what a crop
shows beside it, in sizes of the target."""

SOT_CELLS = 40
"""Most cells of a crop along the target: memory grows with their fourth power."""

SOT_PADDING = 3.5
"""What the authors' crops show beside the target, in its sizes."""


@dataclass(frozen=True, slots=True)
class SotConfig(TaskConfig):
    """Parameters of single-object tracking; those without focus are the authors'."""

    task: ClassVar[str] = "sot"

    head: str = field(
        default="dcf",
        metadata={
            "help": "dcf: correlation filter that learns; xcorr: template.",
            "choices": SOT_HEADS,
        },
    )
    focus: str = field(
        default="auto",
        metadata={
            "help": "auto: one small crop a frame tells place and size (docs/sot.md); off: the "
            "authors' crops of 520 pixels, three scales of them.",
            "choices": FOCUS,
        },
    )
    crop: int = field(
        default=SOT_CROP,
        metadata={"help": "Focus auto: side of the crop in pixels, a multiple of 8."},
    )
    margin: float = field(
        default=SOT_MARGIN,
        metadata={
            "help": "Focus auto: surroundings of a crop, in sizes of the target; more for objects "
            "that move further between two frames, with a --sot-crop as much larger."
        },
    )
    padding: float = field(
        default=SOT_PADDING,
        metadata={"help": "Focus off: surroundings of a crop, in sizes of the target."},
    )
    scale_step: float = field(
        default=SCALE_STEP, metadata={"help": "Focus off: ratio of the scales that are searched."}
    )
    scale_penalty: float = field(
        default=SCALE_PENALTY,
        metadata={"help": "Focus off: factor on the response of another scale."},
    )
    min_scale: float = field(
        default=0.2, metadata={"help": "Smallest size, as a share of the first."}
    )
    max_scale: float = field(
        default=5.0, metadata={"help": "Largest size, as a multiple of the first."}
    )
    regularisation: float = field(
        default=1e-4, metadata={"help": "dcf: λ of the filter's closed form."}
    )
    sigma: float = field(
        default=0.1, metadata={"help": "dcf: width of the wanted peak, as a share of the target."}
    )
    learning_rate: float = field(
        default=0.01, metadata={"help": "dcf: share of the newest frame; 0 saves its crop's time."}
    )

    def __post_init__(self) -> None:
        TaskConfig.__post_init__(self)
        fits = 64 <= self.crop <= 2048 and self.crop % 8 == 0
        _expect(self, "crop", fits, "a multiple of 8 from 64 to 2048 pixels")
        _expect(self, "padding", 0 <= self.padding < 100, "0 to less than 100")
        _expect(self, "margin", 0 <= self.margin < 100, "0 to less than 100")
        _expect(self, "scale_step", 1 <= self.scale_step < 2, "1 to less than 2")
        covered = self.crop / 8 / (1 + self.margin)
        if covered > SOT_CELLS:
            raise RequestError(
                f"sot: got crop {self.crop} and margin {self.margin:g}, {covered:.0f} cells along "
                f"the target, expected at most {SOT_CELLS}: give a smaller --sot-crop or a larger "
                "--sot-margin"
            )
        _expect(self, "scale_penalty", 0 < self.scale_penalty <= 1, "above 0, and at most 1")
        _expect(self, "min_scale", 0 < self.min_scale <= 1, "above 0, and at most 1")
        _expect(self, "max_scale", 1 <= self.max_scale < 1000, "1 to less than 1000")
        _expect(self, "regularisation", 0 < self.regularisation < inf, "a number above 0")
        _expect(self, "sigma", 0 < self.sigma < inf, "a number above 0")
        _expect(self, "learning_rate", 0 <= self.learning_rate <= 1, "0 to 1")
        instead = "leave it out, or give --sot-focus auto"
        usual: dict[str, float] = {"crop": SOT_CROP, "margin": SOT_MARGIN}
        if self.focus == "auto":
            instead = "give --sot-margin in its place, or --sot-focus off"
            usual = {"padding": SOT_PADDING, "scale_step": SCALE_STEP}
            usual["scale_penalty"] = SCALE_PENALTY
        for name, value in usual.items():
            why = f"none, since focus {self.focus} does not use it: {instead}"
            _expect(self, name, getattr(self, name) == value, why)


@dataclass(frozen=True, slots=True)
class MotsConfig(TrackedConfig):
    """Parameters of multi-object tracking and segmentation."""

    task: ClassVar[str] = "mots"

    overlap_removal: float = field(
        default=0.7, metadata={"help": "Of two boxes of a larger IoU, the better one stays."}
    )
    max_area: int = field(default=200, metadata={"help": "Most points per mask."})

    def __post_init__(self) -> None:
        TrackedConfig.__post_init__(self)
        _check_area(self)
        _expect(self, "overlap_removal", 0 <= self.overlap_removal <= 1, "0 to 1")


@dataclass(frozen=True, slots=True)
class PosetrackConfig(TrackedConfig):
    """Parameters of pose tracking."""

    task: ClassVar[str] = "posetrack"

    presets: ClassVar[dict[str, dict[str, float]]] = other_presets(
        unitrack={"appearance_weight": 0.9999},
        memory={"low_confidence": 0.0, "start_confidence": 0.0},
    )

    confidence: float = otherwise("confidence", 0.0)
    duplicate_limit: float = otherwise("duplicate_limit", 0.2)
    max_area: int = field(default=400, metadata={"help": "Most points per person."})

    def __post_init__(self) -> None:
        TrackedConfig.__post_init__(self)
        _check_area(self)


def _check_area(config: MotsConfig | PosetrackConfig) -> None:
    _expect(config, "max_area", config.max_area >= 1, "at least 1 point an object")


@dataclass(frozen=True, slots=True)
class MotConfig(TrackedConfig):
    """Parameters of multi-object tracking."""

    task: ClassVar[str] = "mot"

    presets: ClassVar[dict[str, dict[str, float]]] = other_presets(memory={"coast": 0.12})

    confirm_limit: float = field(
        default=0.7, metadata={"help": "Largest 1 - IoU at which a new track is confirmed."}
    )
    coast: float | None = by_preset(
        "Preset memory: seconds for which a track that is missed is reported where motion takes it."
    )
    min_area: float = field(
        default=200.0, metadata={"help": "Smaller boxes are tracked, not reported (px²)."}
    )
    max_aspect: float = field(
        default=1.6, metadata={"help": "Wider people (width / height) are not reported; 0: all."}
    )
    roi_height: int = field(default=4, metadata={"help": "Rows of points per box."})
    roi_width: int = field(default=10, metadata={"help": "Columns of points per box."})

    def __post_init__(self) -> None:
        TrackedConfig.__post_init__(self)
        _expect(self, "roi_height", 1 <= self.roi_height <= 64, "1 to 64 rows")
        _expect(self, "roi_width", 1 <= self.roi_width <= 64, "1 to 64 columns")
        coast = 0.0 if self.coast is None else self.coast
        _expect(self, "coast", 0 <= coast < inf, "seconds of 0 or more")
        for name in ("confirm_limit", "min_area", "max_aspect"):
            _expect(self, name, 0 <= getattr(self, name) < inf, "0 or more")


_FOCUS_HELP = (
    "auto: look at regions around the objects, at a scale that suits them (docs/propagation.md); "
    "off: at the whole frame, as in the paper."
)
FOCUS_RADIUS, FOCUS_MEMORY = 9.0, 3
"""Cells around an object, and recent frames, that it looks at there at most."""


@dataclass(frozen=True, slots=True)
class PropagatedConfig(TaskConfig):
    """Parameters of a task that carries the first frame's objects on by label propagation.

    The defaults are the authors'; `focus` is not of the paper.
    """

    top_k: int = field(default=10, metadata={"help": "Keys kept per cell."})
    temperature: float = field(default=0.05, metadata={"help": "Temperature of the softmax."})
    radius: float = field(
        default=12.0, metadata={"help": "Neighbourhood in recent frames, in feature cells."}
    )
    first_radius: float = field(
        default=0.0, metadata={"help": "Neighbourhood in the first frame; 0: all of it."}
    )
    memory: int = field(default=5, metadata={"help": "Recent frames kept besides the first."})
    short_side: int = field(
        default=480, metadata={"help": "Short side of the network's image, in pixels; 0: source."}
    )
    focus: str = field(
        default="auto",
        metadata={
            "help": _FOCUS_HELP,
            "choices": FOCUS,
        },
    )

    def __post_init__(self) -> None:
        TaskConfig.__post_init__(self)
        _expect(self, "top_k", self.top_k >= 1, "1 or more")
        _expect(self, "memory", 0 <= self.memory <= 100, "0 to 100 frames")
        _expect(self, "short_side", 0 <= self.short_side <= 8192, "0 to 8192 pixels")
        _expect(self, "temperature", 0 < self.temperature < inf, "a number above 0")
        _expect(self, "radius", self.radius > 0, "a number above 0")
        _expect(self, "first_radius", self.first_radius >= 0, "0 or more")
        usual = {one.name: one.default for one in fields(PropagatedConfig)}
        for name, most in (("radius", FOCUS_RADIUS), ("memory", FOCUS_MEMORY), ("first_radius", 0)):
            value = getattr(self, name)
            if self.focus == "auto" and value not in (usual[name], min(value, most)):
                raise RequestError(
                    f"--{self.task}-{name.replace('_', '-')} {value:g}: --{self.task}-focus auto "
                    f"takes {most:g} at most: add --{self.task}-focus off"
                )


@dataclass(frozen=True, slots=True)
class VosConfig(PropagatedConfig):
    """Parameters of mask propagation."""

    task: ClassVar[str] = "vos"


@dataclass(frozen=True, slots=True)
class PoseConfig(PropagatedConfig):
    """Parameters of pose propagation: those of mask propagation, and of belief maps."""

    task: ClassVar[str] = "pose"

    # Slower than the whole frame where many people hide one another (docs/propagation.md).
    focus: str = field(default="off", metadata={"help": _FOCUS_HELP, "choices": FOCUS})
    sigma: float = field(
        default=0.1,
        metadata={"help": "Variance of a belief map (cells²) per body size (cells)."},
    )
    top_cells: int = field(
        default=3, metadata={"help": "Cells of a belief map that a joint is read from."}
    )
    reach: float = field(
        default=12.0, metadata={"help": "How far a joint moves in a frame, in cells; 0: anywhere."}
    )

    def __post_init__(self) -> None:
        PropagatedConfig.__post_init__(self)
        _expect(self, "top_cells", self.top_cells >= 1, "1 or more")
        _expect(self, "sigma", 0 < self.sigma < inf, "a number above 0")
        _expect(self, "reach", 0 <= self.reach < inf, "0 or more")
