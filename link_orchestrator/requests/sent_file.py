"""A file in the body of a request: its bytes, its columns, and how its rows are staged and its problems reported."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final, TypeVar

from pydantic import TypeAdapter

from link_orchestrator.files.rows import UnreadableFile
from link_orchestrator.problem_report import ProblemReport
from link_orchestrator.problems import Problem
from shared.directory.directory import Directory
from shared.json_text import Twice, read_written
from shared.scim.endpoint import Request
from shared.scim.errors import BodyTooLarge, InvalidSyntax, InvalidValue
from shared.turns import without_full_collections

ROWS_AT_ONCE: Final = 200
"""Rows of a file that are staged before other requests get their turn."""
MAX_FILE_BYTES: Final = 100_000_000
"""Bytes that a file may have at most: some less than the 104,857,600 beyond which Azure's host answers a bare 413. The
file is in memory while it is staged."""
FILE: Final = "file"
"""The parameter, and the option of a job, that holds what the file is called by whoever sent it."""
PARAMETERS: Final = ("columns", "mapping", FILE)
"""The parameters of every request with a file."""
MAX_NAME_CHARS: Final = 200

R = TypeVar("R")


def read_file(request: Request) -> bytes:
    """Return the file that was sent. Raises BodyTooLarge."""
    if len(request.body) > MAX_FILE_BYTES:
        raise BodyTooLarge(f"A file has at most {MAX_FILE_BYTES} bytes. Split it, and send one part after the other.")
    return request.body


def read_columns(request: Request) -> Mapping[str, str]:
    """Return the columns that headers are, as the parameter `columns` says, or `mapping`, its former name.

    Raises InvalidValue.
    """
    if "columns" in request.params and "mapping" in request.params:
        raise InvalidValue("columns: mapping is its former name; send one of the two")
    text = request.params.get("columns", request.params.get("mapping", "{}"))
    try:
        return TypeAdapter(dict[str, str]).validate_python(read_written(text), strict=True)
    except Twice as twice:
        raise InvalidValue(f"columns: {twice}") from None
    except ValueError:
        raise InvalidValue('columns: a JSON object from header to column, like {"Login": "userName"}') from None


def read_name(request: Request) -> Mapping[str, str]:
    """Return the option that says what the file is called, as the parameter `file` says; none where it does not."""
    name = "".join(letter for letter in request.params.get(FILE, "") if letter.isprintable())
    return {FILE: name[-MAX_NAME_CHARS:]} if name else {}


async def read_ahead(rows: Iterable[R]) -> Iterator[R]:
    """Return the rows of a file once the first of them is read.

    To open a workbook takes seconds: that is done in a thread, so that other requests get their turn.
    """
    reader = iter(rows)
    begun = await asyncio.to_thread(list, islice(reader, 1))
    return chain(begun, reader)


async def stage_rows(
    directory: Directory,
    job_id: str,
    rows: Iterable[R | Problem],
    add: Callable[[R], Awaitable[None]],
    counts: Counter[str],
    keep: Callable[[Sequence[Problem]], Awaitable[None]] | None = None,
) -> ProblemReport:
    """Hand each row of a file to `add`, and add the problems to the job's report; `keep` is handed those that it keeps.

    Returns that report, which the caller closes. Counts the rows that were `read`, and the `problems`. Raises
    InvalidSyntax if no row can be used.
    """

    async def write() -> None:
        kept = await report.add(problems)
        problems.clear()
        if keep is not None:
            await keep(kept)

    report = ProblemReport(directory, job_id)
    problems: list[Problem] = []
    first: Problem | None = None
    with without_full_collections():
        try:
            for row in await read_ahead(rows):
                if isinstance(row, Problem):
                    problems.append(row)
                    first = first or row
                    counts["problems"] += 1
                else:
                    await add(row)
                    counts["read"] += 1
                if (counts["read"] + counts["problems"]) % ROWS_AT_ONCE == 0:
                    await write()
                    await asyncio.sleep(0)
        except UnreadableFile as error:
            raise InvalidSyntax(str(error)) from error
    if not counts["read"]:
        why = f" Line {first.line}: {first.reason} {first.remedy}" if first else " There is no row in it."
        raise InvalidSyntax(f"No row of the file can be used.{why}")
    await write()
    return report
