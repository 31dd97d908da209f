"""The protocol engine alone, without storage and without HTTP: microseconds of CPU a call."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from infra.local.bench.figures import Figure
from infra.local.bench.people import PATCH_OPERATIONS, user
from scim_users.resource import render
from shared.directory.records.model import Account, Status
from shared.scim.document import normalise
from shared.scim.filter import parse_filter
from shared.scim.messages import list_response
from shared.scim.patch import apply, parse_operations
from shared.scim.projection import Projection
from shared.scim.schema import USER

PAGE = 100
ROUNDS = 9
"""Rounds of which the median counts."""
ADDRESS = "http://127.0.0.1:7071/scim/v2"


def measure() -> list[Figure]:
    """Return what one call costs of parsing, patching and rendering."""
    number = itertools.count()
    message = {"Operations": list(PATCH_OPERATIONS)}
    document = normalise(USER, user(1), id="00000000-0000-4000-8000-000000000001")
    projection = Projection.parse(None, None, USER)
    account = Account.new(document["id"], document, Status.PROVISIONED, "2026-01-01T00:00:00.000Z")
    accounts = [replace(account, etag=str(n)) for n in range(PAGE)]

    def patch() -> None:
        apply(parse_operations(message), document, USER)

    def parse() -> None:
        parse_filter(f'emails[type eq "work"].value eq "person{next(number)}@contoso.com"')

    def show() -> None:
        list_response([render(a, ADDRESS, projection) for a in accounts], PAGE, 1)

    timed = (("PATCH of 3 Entra operations", patch, 500, 60), ("parse a new filter", parse, 1_000, 15))
    figures = [Figure(f"engine: {name}", _cpu(call, n) * 1e6, "µs CPU", aim) for name, call, n, aim in timed]
    return [*figures, Figure("engine: render a list of 100", _cpu(show, 20) * 1e3, "ms CPU", 1.5)]


def _cpu(call: Callable[[], None], times: int) -> float:
    """Return the CPU seconds of one call; each of the ROUNDS makes `times` calls."""
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(times):
            call()
        took.append((time.process_time() - began) / times)
    return statistics.median(took)
