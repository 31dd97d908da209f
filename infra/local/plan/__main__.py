"""`python -m infra.local.plan`: what `make plan` runs.

Ends with 0 where a plan was made, whatever it says; 1 where none could be; 2 where the command line is wrong; and 128
and the signal's number where it was stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from infra.local.plan import given, shown
from infra.local.plan.door import opened
from infra.local.plan.folders import working_folder
from infra.local.plan.given import Given, Trouble
from infra.local.plan.results import results_folder, write_results
from infra.local.plan.work import Made, make_plan
from infra.local.serve import start_log

MANY_BYTES: Final = 2_000_000
"""Bytes of both files from which on processes of their own work on the plan, which take a second to start."""
STOPPED: Final = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end the process as Ctrl-C does, so that what was read is removed."""

_stopped_by = signal.SIGINT


def main(command_line: Sequence[str] | None = None) -> int:
    """Make a plan as the command line says; return the exit code."""
    arguments = _parser().parse_args(command_line)
    start_log("ERROR")
    former = {number: signal.signal(number, handler) for number, handler in _handlers().items()}
    try:
        what = given.read({word: getattr(arguments, word.lower()) for word in given.WORDS})
        with working_folder() as data, results_folder(arguments.out) as (folder, out):
            made, examples = asyncio.run(_make(what, data, folder))
        shown.show_plan(made, what, examples)
        shown.show_results(out)
    except Trouble as trouble:
        shown.show_trouble(str(trouble))
        return 1
    except KeyboardInterrupt:
        shown.show_trouble("stopped. Nothing was kept.")
        return 128 + _stopped_by
    except BrokenPipeError:  # nobody reads on; the results are there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as problem:
        where = f" {problem.filename}" if problem.filename else ""
        shown.show_trouble(
            f"cannot work in the temporary folder{where}: {problem.strerror}. TMPDIR=… names another one."
        )
        return 1
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    return 0


async def _make(what: Given, data: Path, folder: Path) -> tuple[Made, Mapping[str, str]]:
    """Make the plan in one folder and write its results into another; return it, and a row of each decision."""
    size = len(what.accounts.content) + len(what.identities.content)
    workers = min(2, os.cpu_count() or 1) if size > MANY_BYTES else 0
    async with opened(data, workers) as door:
        with shown.showing() as progress:
            made = await make_plan(door, what, progress)
            await write_results(door, made, folder, progress)
        return made, await shown.find_examples(door, made)


def _handlers() -> Mapping[signal.Signals, Callable[[int, Any], None]]:
    """Return what is done at which signal. A script starts a background job with Ctrl-C ignored, and nohup a hang-up.

    Ctrl-C is heard all the same: the other signals go through it.
    """
    heard = [number for number in STOPPED if signal.getsignal(number) is not signal.SIG_IGN]
    return {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(heard, _stop)}


def _stop(number: int, _: object) -> None:
    """Take a signal for Ctrl-C, and remember which it was."""
    global _stopped_by
    _stopped_by = signal.Signals(number)
    signal.raise_signal(signal.SIGINT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.local.plan", description=f"{given.USAGE} runs this.")
    parser.add_argument("--accounts", default="", metavar="FILE", help=given.WHAT[given.ACCOUNTS])
    parser.add_argument("--identities", default="", metavar="FILE", help=given.WHAT[given.IDENTITIES])
    parser.add_argument("--domains", default="", help="your verified domains, separated by commas")
    parser.add_argument("--policy", default="", metavar="FILE", help="the rest of the policy, as JSON")
    parser.add_argument("--trust-emails", default="", metavar="TRUST", help="trustEmails of the policy")
    which = "which header is which column, as JSON"
    parser.add_argument("--account-columns", default="", metavar="COLUMNS", help=f"{which}, of the accounts")
    parser.add_argument("--identity-columns", default="", metavar="COLUMNS", help=f"{which}, of the identities")
    encoding = "the code page of the text, such as windows-1250"
    parser.add_argument("--account-encoding", default="", metavar="NAME", help=f"{encoding}, of the accounts")
    parser.add_argument("--identity-encoding", default="", metavar="NAME", help=f"{encoding}, of the identities")
    parser.add_argument("--out", default="", metavar="DIR", help="the folder for the results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
