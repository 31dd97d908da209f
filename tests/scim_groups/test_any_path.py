"""Any path of a PATCH of a user or a group is answered over the real door, with the resource or with a SCIM error."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scim.extension import extended, read_extensions
from shared.scim.schema import GROUP, USER, ResourceType, Type
from tests.fuzz import many, times
from tests.scim_groups.test_service import a_user, created, operations
from tests.scim_users.conftest import Answer, Server
from tests.scim_users.test_schemas import schemas
from tests.shared.scim.paths import OPS, VALUES, paths

SCHEMA: dict[str, Any] = {
    "id": "urn:contoso:scim:2.0:Employee",
    "attributes": [
        *({"name": kind, "type": kind} for kind in get_args(Type) if kind != "complex"),
        {"name": "badge", "mutability": "immutable"},
        {"name": "skills", "multiValued": True},
        {
            "name": "desks",
            "type": "complex",
            "multiValued": True,
            "subAttributes": [{"name": "floor", "type": "integer"}, {"name": "since", "type": "dateTime"}],
        },
    ],
}
EMPLOYEE = extended(USER, read_extensions([SCHEMA], USER))
PATHS = {kind.endpoint: list(dict.fromkeys(paths(kind))) for kind in (EMPLOYEE, GROUP)}


@pytest.fixture
async def places(server: Server) -> dict[str, str]:
    """The addresses of a user and of a group with that user, by endpoint."""
    assert (await schemas(server, "PUT", [SCHEMA])).status == 200
    emails = [{"type": "work", "value": "ada@contoso.com", "primary": True}]
    ada = await a_user(server, "ada", emails=emails, **{SCHEMA["id"]: {"desks": [{"floor": 1}], "skills": ["sql"]}})
    group = await created(server, members=[{"value": ada}])
    return {"/Users": f"/Users/{ada}", "/Groups": f"/Groups/{group['id']}"}


def check(answer: Answer) -> None:
    """Assert that an answer is one of SCIM's, and not that something broke here."""
    assert answer.status in (200, 400), answer.body
    if answer.status == 400:
        assert answer.body["scimType"] in ("invalidPath", "invalidValue", "noTarget", "mutability", "tooMany")
        assert answer.body["detail"]


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", [EMPLOYEE, GROUP], ids=["User", "Group"])
async def test_every_path_of_the_schema_is_answered(server: Server, places: dict[str, str], kind: ResourceType) -> None:
    # Each path with one value, and so each value with many paths.
    tried = zip(PATHS[kind.endpoint], cycle(VALUES), cycle(OPS), strict=False)
    for path, value, op in islice(tried, None, None, 3 if times() == 1 else 1):
        answer = await server.send("PATCH", places[kind.endpoint], operations({"op": op, "path": path, "value": value}))
        check(answer)


@many(150)
@given(
    endpoint=st.sampled_from(list(PATHS)),
    drawn=st.lists(
        st.tuples(st.sampled_from(OPS), st.integers(0, 10_000), st.sampled_from(VALUES), st.booleans()),
        min_size=1,
        max_size=4,
    ),
)
async def test_any_operations_together_are_answered(
    server: Server, places: dict[str, str], endpoint: str, drawn: list[tuple[str, int, Any, bool]]
) -> None:
    known = PATHS[endpoint]
    items = [
        {"op": op, "path": path, "value": value} if named else {"op": op, "value": {path: value}}
        for op, number, value, named in drawn
        for path in (known[number % len(known)],)
    ]
    check(await server.send("PATCH", places[endpoint], operations(*items)))
    assert (await server.send("GET", places[endpoint])).status == 200
