"""Power, temperature and GPU memory, where the device itself reports them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys")

_POWER_INPUTS = frozenset({"VDD_IN", "POM_5V_IN", "VDD_GPU_SOC"})
"""Rails of a Jetson that feed the whole module, by the boards' own names."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Readings of a device at one moment; None where it reports nothing.

    Attributes:
        power_w: Of the GPU's board (NVML) or the whole module (Jetson).
        temperature_c: Of the GPU, or the hottest zone of the module.
        gpu_memory_mb: In use on the GPU by everybody, in 1e6 bytes.
    """

    power_w: float | None = None
    temperature_c: float | None = None
    gpu_memory_mb: float | None = None


Sensor = Callable[[], Reading]


def find_sensor(*, gpu: bool, root: Path = SYSFS) -> Sensor:
    """What can be read on this machine.

    Args:
        gpu: Whether a GPU does the work: without, what it draws says nothing.
        root: Where the system shows its devices.
    """
    nvml = _open_nvml() if gpu else None
    return nvml or (lambda: Reading(_jetson_power_w(root), _hottest_zone_c(root)))


def _open_nvml() -> Sensor | None:
    """The first GPU, through NVIDIA's own library; None where that is absent."""
    try:
        import pynvml  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
    except pynvml.NVMLError:
        return None

    def ask(question: Callable[[], float]) -> float | None:
        # A device may answer some questions and not others.
        try:
            return float(question())
        except pynvml.NVMLError:
            return None

    def read() -> Reading:
        return Reading(
            ask(lambda: pynvml.nvmlDeviceGetPowerUsage(device) / 1e3),
            ask(lambda: pynvml.nvmlDeviceGetTemperature(device, pynvml.NVML_TEMPERATURE_GPU)),
            ask(lambda: pynvml.nvmlDeviceGetMemoryInfo(device).used / 1e6),
        )

    return read


def _jetson_power_w(root: Path) -> float | None:
    """Voltage times current at the module's input, from its INA3221 monitor."""
    for label in root.glob("bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label"):
        if _text(label) in _POWER_INPUTS:
            number = label.name.removeprefix("in").removesuffix("_label")
            millivolts = _number(label.with_name(f"in{number}_input"))
            milliamperes = _number(label.with_name(f"curr{number}_input"))
            if millivolts is not None and milliamperes is not None:
                return millivolts * milliamperes / 1e6
    return None


def _hottest_zone_c(root: Path) -> float | None:
    return max(_zones_c(root), default=None)


def _zones_c(root: Path) -> Iterator[float]:
    for path in root.glob("class/thermal/thermal_zone*/temp"):
        millidegrees = _number(path)
        # Zones without a sensor report 0 or less.
        if millidegrees is not None and millidegrees > 0:
            yield millidegrees / 1e3


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None
