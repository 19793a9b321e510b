"""The command line: `cli` and `unitrack-edge`.

Only click is imported here; each command's module is imported when it is called, so that
`cli --help` answers at once and `cli track` never pays for PyTorch.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from .errors import SAME_REQUEST_S, RequestError, Stopped, UnitrackError, printable
from .version import __version__

GROUPS = {
    "Track": {
        "track": "Track objects in a video, a folder of images, a camera or a stream.",
    },
    "Prepare models": {
        "export": "Export a backbone and the tracking graphs, or a detector, to ONNX.",
        "build": "Build TensorRT engines from the graphs of a bundle.",
        "calibrate": "Make the backbone or detector of a bundle int8, and report what that costs.",
        "models": "List all models: detectors, poses, masks and backbones.",
        "backbones": "List the backbones that can be exported.",
    },
    "Measure": {
        "eval": "Measure accuracy on a benchmark, as its official tool does.",
        "compare": "Compare representations over tasks, as the paper does with its fifteen.",
        "compare-trackers": "Compare our tracking of boxes with other packages' trackers.",
        "bench": "Measure latency, memory and energy of a task, backends side by side.",
        "tune": "Find the setting of `cli track` that suits this machine and a clip of yours.",
        "parity": "Compare a bundle with PyTorch, graph by graph and task by task.",
    },
    "This machine": {
        "doctor": "Show what this machine has, which bundles run on it, and how to fix the rest.",
        "demo": "Track a demo clip or your own video, and score it where the truth is known.",
    },
}
"""Title of each group in the help text → name and one-line help of its modules in `commands`."""

COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}

SHARED_MODULES = {"backbones": "models", "compare-trackers": "compare", "tune": "bench"}
"""Commands that stand in the module of another one, under their own name."""


_STREAM_ERRORS = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EPIPE, errno.EDQUOT)


_LACK = re.compile(
    "failed to map segment|cannot allocate memory|can't start new thread|bad_alloc|"
    "insufficient memory",
    re.IGNORECASE,
)


def _is_of_no_file(error: Exception) -> bool:
    return isinstance(error, OSError) and error.filename is None


def lacks_memory(error: Exception) -> bool:
    """Whether an error, of Python or a library, says that the system gives nothing more."""
    if _is_of_no_file(error) and error.args[:1] in ((errno.ENOMEM,), (errno.EAGAIN,)):
        return True
    return isinstance(error, MemoryError) or _LACK.search(str(error)) is not None


def prepare_streams() -> None:
    """Make sure that there is a standard output and error, and that they take any text.

    A program may be started without them; the first files that it opened would then be written
    over by its messages. Characters that an encoding lacks are shown by their numbers.
    """
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            _open_nothing(number)
            mode = "r" if number == 0 else "w"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        elif number and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open_nothing(number: int) -> None:
    """Make a descriptor that is closed lead nowhere."""
    try:
        os.fstat(number)
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)


def _end(message: str) -> NoReturn:
    """End with status 1; what is still to be written to the standard output is let go."""
    with contextlib.suppress(OSError):
        click.echo(f"Error: {message}", err=True)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
    sys.exit(1)


class NamedPath(click.Path):
    """A path that a file could have: neither empty, as of a variable that is not set, nor too long.

    `click.Path` lets both through, and `Path("")` is the current folder.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; see `click.Path`."""
        # A file of options may say 5 where it means a folder of that name.
        value = value if isinstance(value, str | os.PathLike) else str(value)
        if not os.fspath(value):
            self.fail(f"got an empty value, expected a {self.name}", param, ctx)
        try:
            Path(value).lstat()
        except ValueError as error:
            self.fail(f"{os.fspath(value)!r}: {error}", param, ctx)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                self.fail(f"'{os.fspath(value)[:40]}…': {error.strerror}", param, ctx)
        return super().convert(value, param, ctx)


def _with_named_paths(command: click.Command) -> click.Command:
    """The command, whose paths are all `NamedPath`."""
    for parameter in command.params:
        given = parameter.type
        if type(given) is click.Path:
            parameter.type = NamedPath(
                exists=given.exists,
                file_okay=given.file_okay,
                dir_okay=given.dir_okay,
                allow_dash=given.allow_dash,
                path_type=given.type,
            )
    return command


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Have SIGTERM and SIGHUP unwind the program as Ctrl-C does, so that it cleans up."""
    first_s = -math.inf

    def stop(number: int, _frame: object) -> None:
        nonlocal first_s
        if time.monotonic() < first_s + SAME_REQUEST_S:
            return
        first_s = time.monotonic()
        raise Stopped(number)

    former: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # What `nohup` made the process deaf to stays so.
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                former[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class WrongUsage(click.ClickException):
    """One line, exit status 2."""

    exit_code = 2


class LazyGroup(click.Group):
    """Imports a command when it is called, and prints this project's errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f".commands.{SHARED_MODULES.get(cmd_name, cmd_name)}", __package__)
        name = cmd_name.replace("-", "_") if cmd_name in SHARED_MODULES else "command"
        return _with_named_paths(getattr(module, name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is asked for; an unknown one is an error that names the nearest.

        Raises:
            click.UsageError: There is no such command.
        """
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, 1)
            known = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(COMMANDS)}"
            raise click.UsageError(f"No such command {args[0]!r}: {known}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands by group, without importing them."""
        width = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", text) for name, text in group.items()])

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line; what the terminal cannot show or take is no traceback."""
        prepare_streams()
        try:
            return super().main(*args, **extra)
        except Exception as error:
            if lacks_memory(error):
                _end("out of memory or threads; give fewer --threads or a smaller image size")
            # Of files, errors have their names; these are of the terminal, or of a pipe.
            code = getattr(error, "errno", None) if _is_of_no_file(error) else None
            if code in _STREAM_ERRORS:
                _end(f"cannot write to the standard output: {os.strerror(code)}")
            raise

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; an error of this project, or a signal, becomes one line and a status."""
        try:
            with _signals_raise():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            stopped = Stopped.of(error)
            command = f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip()
            click.echo(f"{command}: {stopped}; nothing half written was left", err=True)
            sys.exit(stopped.status)
        except OSError as error:
            # Of names in values that are no paths alone, such as TASK=ROOT.
            if error.errno != errno.ENAMETOOLONG:
                raise
            name = str(error.filename)[:40]
            raise WrongUsage(f"'{name}…': {error.strerror}, expected a path") from error
        except click.UsageError as error:
            # One line, as for all other errors.
            text = printable(" ".join(error.format_message().split()))
            # An option without its value is found before the command's context is known.
            name = "" if error.ctx else f" {ctx.invoked_subcommand or ''}".rstrip()
            where = f"{(error.ctx or ctx).command_path}{name}"
            raise WrongUsage(f"{text} (see `{where} --help`)") from error
        except UnitrackError as error:
            wrong_usage = isinstance(error, RequestError)
            raise (WrongUsage if wrong_usage else click.ClickException)(
                printable(str(error))
            ) from error


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="unitrack-edge")
def main() -> None:
    """UniTrack Edge: track anything with one appearance model that never learned to track.

    Start with `cli demo`, or `cli track VIDEO --task mot`.
    """


if __name__ == "__main__":
    main()
