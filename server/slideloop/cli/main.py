"""The entry point: finds the command, and turns errors into one sentence and an exit code.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys

import click

from slideloop import __version__
from slideloop.errors import SlideloopError

COMMANDS = {
    "serve": "Run the server that QuPath and other clients use.",
    "index": "Compute the features of slides, ahead of time.",
    "simulate": "Play the paper's experiment with a simulated expert.",
    "predict": "Write the masks of further slides by a study.",
    "project": "Check QuPath projects; import masks into them, and take that back.",
    "study": "List studies; show, verify, replay, export, import or back them up.",
    "weights": "Put ImageNet weights in place that were brought by hand.",
    "qupath": "Put the scripts for QuPath where it finds them, or take them away.",
    "doctor": "Say what works, what does not, and what to do.",
    "demo": "Build a small slide, play a simulated expert, leave the mask.",
}
WRONG_INPUT = 2
IN_PART = 3
INTERRUPTED = 130


class _Commands(click.Group):
    """Commands that are imported when they run; their one-line help stands here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"slideloop.cli.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Annotate a whole slide by judging a few hundred patches.

    Settings come from defaults, then a TOML file (SLIDELOOP_CONFIG, or config.toml in the user's
    configuration folder), then SLIDELOOP_* variables, then the options of a command.
    """


def main() -> None:
    """Run the command line; the only place where errors become exit codes."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        code = cli.main(standalone_mode=False)
    except SlideloopError as err:
        code = _say(str(err), WRONG_INPUT)
    except click.ClickException as err:
        code = _say_wrong_use(err)
    except (KeyboardInterrupt, click.Abort):
        code = _say("Interrupted; nothing was left half-written.", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; a second complaint at exit would go nowhere too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as err:
        what = f"{err.filename}: {err.strerror}" if err.filename else str(err)
        code = _say(f"The system refused: {what}. Check the disk and the permissions.", WRONG_INPUT)
    sys.exit(code or 0)


def _say_wrong_use(err: click.ClickException) -> int:
    """Say click's complaint as one of ours; `slideloop` alone shows its help instead."""
    context = getattr(err, "ctx", None)
    if context is None or type(err).__name__ == "NoArgsIsHelpError":
        err.show()
        return err.exit_code
    return _say(f"{err.format_message()} See '{context.command_path} --help'.", err.exit_code)


def _say(text: str, code: int) -> int:
    click.echo(f"slideloop: {text}", err=True)
    return code


if __name__ == "__main__":
    main()
