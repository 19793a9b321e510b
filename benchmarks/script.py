"""What every script here does alike: options, errors of one line, results shown and kept."""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from ..errors import RequestError, UnitrackError, printable


@dataclass(frozen=True, slots=True)
class Result:
    """What a script measured.

    Attributes:
        name: Of its files in `results/`.
        lines: For people.
        record: What is kept beside them and the machine.
        complaint: One line that says why the run fails; empty: it does not.
    """

    name: str
    lines: Sequence[str]
    record: Mapping[str, Any]
    complaint: str = ""


DISAGREE = "the sides disagree: their times compare nothing"

_Data = TypeVar("_Data", list[Any], dict[str, Any])
_Number = TypeVar("_Number", int, float)


def read_json(path: Path, kind: type[_Data], names: Sequence[str] = ()) -> _Data:
    """What a script has kept with `--json`: a list, or a dictionary that has these names.

    Raises:
        RequestError: It is something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        data = None
    if not isinstance(data, kind) or not set(names) <= set(data):
        raise RequestError(f"{path}: not a file that a benchmark has written with --json")
    return data


def at_least(least: _Number, most: float = math.inf) -> Callable[[str], _Number]:
    """What an option takes: a finite number as `least`, an integer or not, up to `most`."""
    kind = type(least)
    expected = f"{least} or more" if most == math.inf else f"{least} to {most}"

    def number(text: str) -> _Number:
        with suppress(ValueError):
            if least <= kind(text) <= most and math.isfinite(kind(text)):
                return kind(text)
        raise argparse.ArgumentTypeError(f"{text}: expected {expected}")

    return number


def server_url(text: str) -> str:
    """What an option takes: the address of a live view; it ends with a slash."""
    with suppress(ValueError):
        parts = urlsplit(text)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return text.rstrip("/") + "/"
    raise argparse.ArgumentTypeError(f"{text}: expected http://HOST:PORT/")


def answer_of(url: str) -> Any:
    """What a server answers, of JSON.

    Raises:
        UnitrackError: It does not answer, or something else.
    """
    try:
        with urllib.request.urlopen(url) as answer:
            return json.load(answer)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UnitrackError(f"{url}: {getattr(reason, 'strerror', None) or reason}") from None


class Script(argparse.ArgumentParser):
    """A script's options, and how it ends: as `cli` does, in one line where something is wrong.

    Args:
        doc: What the script is for.
        rounds: Default of `--rounds`; None: there is no such option.
        threads: The same of `--threads`.
        saves: Whether there is `--save`.
    """

    def __init__(
        self,
        doc: str | None,
        *,
        rounds: int | None = None,
        threads: int | None = None,
        saves: bool = False,
    ) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=doc, formatter_class=formatter)
        if rounds is not None:
            self.number("--rounds", rounds, "that count")
        if threads is not None:
            self.number("--threads", threads, "of the CPU", least=min(threads, 1))
        if saves:
            self.add_argument("--save", action="store_true", help="keep it in benchmarks/results")

    def number(
        self,
        flag: str,
        default: float | None,
        about: str,
        least: float = 1,
        most: float = math.inf,
    ) -> None:
        """Add an option that `at_least` takes."""
        shown = "" if default is None else f" (default: {default})"
        self.add_argument(flag, type=at_least(least, most), default=default, help=about + shown)

    def error(self, message: str) -> NoReturn:
        """End with status 2 and one line."""
        self.exit(2, f"Error: {printable(message)} (see `{self.prog} --help`)\n")

    def does(self, work: Callable[[argparse.Namespace], Result | None]) -> Callable[..., int]:
        """The script's `main`, of what it does with its options; run where it is the program.

        It takes arguments and gives an exit status. A wrong request is 2; an error of this project
        or of a file, and a result with a complaint, are 1.
        """

        @functools.wraps(work)
        def main(arguments: Sequence[str] | None = None) -> int:
            options, load, complaint = self.parse_args(arguments), os.getloadavg(), ""
            try:
                result = work(options)
            except RequestError as error:
                self.error(str(error))
            except UnitrackError as error:
                complaint = str(error)
            except OSError as error:
                if error.filename is None:
                    raise
                complaint = f"{error.filename}: {error.strerror}"
            else:
                if result is not None:
                    _show(result, options, load)
                    complaint = result.complaint
            if complaint:
                print(f"Error: {printable(complaint)}", file=sys.stderr)
            return int(bool(complaint))

        if work.__module__ == "__main__":
            sys.exit(main())
        return main


def _show(result: Result, options: argparse.Namespace, load: Sequence[float]) -> None:
    print("\n".join(result.lines))
    if options.save:
        # Only now: it imports PyTorch, which no run needs to have in its memory.
        from .timing import machine, save

        about = machine(getattr(options, "threads", 1), load)
        save(result.name, result.lines, {"machine": about, **result.record})
