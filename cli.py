"""The command line: `cli` and `unitrack-edge`.

Only click is imported here; each command's module is imported when it is called, so that
`cli --help` answers at once and `cli track` never pays for PyTorch.
"""

from __future__ import annotations

from importlib import import_module

import click

from .errors import RequestError, UnitrackError
from .version import __version__

GROUPS = {
    "Track": {
        "track": "Track objects in a video, a folder of images, a camera or a stream.",
    },
    "Prepare models": {
        "export": "Export a backbone and the tracking graphs, or a detector, to ONNX.",
        "build": "Build TensorRT engines from the graphs of a bundle.",
        "calibrate": "Make the backbone of a bundle int8, and report what that costs.",
        "models": "List all models: detectors, poses, masks and backbones.",
        "backbones": "List the backbones that can be exported.",
    },
    "Measure": {
        "eval": "Measure accuracy on a benchmark, as its official tool does.",
        "compare": "Compare representations over tasks, as the paper does with its fifteen.",
        "compare-trackers": "Compare our tracking of boxes with other packages' trackers.",
        "bench": "Measure latency, memory and energy of a task, backends side by side.",
        "parity": "Compare a bundle with PyTorch, graph by graph and task by task.",
    },
    "This machine": {
        "doctor": "Show what this machine has, which bundles run on it, and how to fix the rest.",
        "demo": "Track a demo clip or your own video, and score it where the truth is known.",
    },
}
"""Title of each group in the help text → name and one-line help of its modules in `commands`."""

COMMANDS = {name: text for group in GROUPS.values() for name, text in group.items()}

SHARED_MODULES = {"backbones": "models", "compare-trackers": "compare"}
"""Commands that stand in the module of another one, under their own name."""


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
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands by group, without importing them."""
        width = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:<{width}}", text) for name, text in group.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; an error of this project becomes one line and an exit status."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            # One line, as for all other errors.
            text = " ".join(error.format_message().split())
            where = (error.ctx or ctx).command_path
            raise WrongUsage(f"{text} (see `{where} --help`)") from error
        except UnitrackError as error:
            wrong_usage = isinstance(error, RequestError)
            raise (WrongUsage if wrong_usage else click.ClickException)(
                " ".join(str(error).splitlines())
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
