"""Files of groups, those here and Entra's: whatever stands in them is a row or a problem, and never a 500."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from link_orchestrator.files import groups
from link_orchestrator.files.entra_groups import EntraGroup, read_entra_groups
from link_orchestrator.files.groups import GroupRow, read_groups
from link_orchestrator.files.reading import Notes, Reading
from link_orchestrator.files.rows import UnreadableFile
from link_orchestrator.problems import Problem
from tests.link_orchestrator.requests.test_runs import MARK, bodies, queries, texts, values
from tests.link_orchestrator.running import TOKEN, App, graph

NAMES = st.text("abcdefgh.-é", min_size=1, max_size=12).map("x{}@contoso.com".format)


@given(members=st.lists(NAMES, max_size=30), size=st.integers(1, 60))
def test_parts_of_a_list_are_the_list_with_each_members_place(members: list[str], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "GROUP_ROW_CHARS", size)
        rows = list(read_groups(json.dumps([{"displayName": "Sales", "members": members}]).encode()))
    assert all(isinstance(row, GroupRow) and row.display_name == "Sales" for row in rows)
    found = [(place, m) for row in rows if isinstance(row, GroupRow) for place, m in enumerate(row.members, row.first)]
    assert found == list(enumerate(members))
    assert [GroupRow.from_json(json.loads(json.dumps(r.to_json()))) for r in rows if isinstance(r, GroupRow)] == rows


def test_a_group_of_a_hundred_thousand_members_is_one_row() -> None:
    members = [f"person{number:06d}.somebody@contoso.com" for number in range(100_000)]
    file = json.dumps({"displayName": "Everybody", "members": members}, indent=1).encode()
    rows = [row for row in read_groups(file) if isinstance(row, GroupRow)]
    assert [member for row in rows for member in row.members] == members
    assert len(rows) > 50, "in parts that can be staged"
    users = [{"@odata.type": "#microsoft.graph.user", "id": member} for member in members]
    (group,) = read_entra_groups(json.dumps({"value": [{"id": "1", "displayName": "x", "members": users}]}).encode())
    assert isinstance(group, EntraGroup)
    assert list(group.members) == members


def test_a_users_own_external_id_is_not_the_groups() -> None:
    rows = list(read_groups(b"group,userName,externalId\nSales,ada,7\n"))
    assert rows == [GroupRow(2, "Sales", ("ada",))]
    columns = {"externalId": "groupExternalId"}
    rows = list(read_groups(b"group,userName,externalId\nSales,ada,7\n", columns=columns))
    assert rows == [GroupRow(2, "Sales", ("ada",), "7")]
    for file in (b'{"displayName": "Sales", "externalId": "7", "members": []}', b"group,externalId\nSales,7\n"):
        (row,) = read_groups(file)
        assert isinstance(row, GroupRow)
        assert (row.display_name, row.external_id) == ("Sales", "7")


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ("1", ("1",)),
        ({"id": "1"}, ("1",)),
        ({"Id": "1", "OdataType": "#microsoft.graph.user"}, ("1",)),
        ({"@odata.type": "#microsoft.graph.group", "id": "1"}, ()),
        ({"@odata.type": "#microsoft.graph.device"}, ()),
        ({"Id": "1", "AdditionalProperties": {"@odata.type": "#microsoft.graph.servicePrincipal"}}, ()),
        ({"Id": "1", "AdditionalProperties": {}}, ("1",)),
        ("", ()),
    ],
)
def test_members_are_users_whatever_form_they_have(member: Any, expected: tuple[str, ...]) -> None:
    file = json.dumps([{"id": "g", "displayName": "Sales", "members": [member]}]).encode()
    assert list(read_entra_groups(file)) == [EntraGroup("g", "Sales", expected)]


@pytest.mark.parametrize("member", [{}, {"id": ""}, {"id": []}, [], ["1"], "x" * 201, "a\x00b"])
def test_a_member_that_cannot_be_told_makes_the_group_a_problem(member: Any) -> None:
    file = json.dumps([{"id": "g", "displayName": "Sales", "members": ["1", member]}]).encode()
    (problem,) = read_entra_groups(file)
    assert isinstance(problem, Problem)
    assert problem.reason.startswith("The column members ")
    assert problem.remedy


@pytest.mark.parametrize("column", ["displayName", "externalId"])
def test_a_value_that_no_group_can_have_is_a_problem(column: str) -> None:
    row = {"displayName": "Sales", "members": [], column: "x" * 1_001}
    (problem,) = read_groups(json.dumps([row]).encode())
    assert isinstance(problem, Problem)
    assert problem.reason == f"The column {column} holds more than 1000 characters."


group_rows = st.lists(
    st.dictionaries(
        st.sampled_from(["displayName", "members", "group", "userName", "id", "externalId", "members@odata.nextLink"])
        | texts,
        values | st.lists(st.dictionaries(st.sampled_from(["id", "userName", "@odata.type"]), values), max_size=3),
        max_size=5,
    ),
    max_size=3,
)
files = bodies | st.one_of(
    group_rows.map(lambda rows: json.dumps(rows).encode()),
    group_rows.map(lambda rows: json.dumps({"value": rows}).encode()),
    st.lists(st.tuples(texts, texts), max_size=4).map(
        lambda rows: "\n".join(["group,userName", *(f'"{a}","{b}"' for a, b in rows)]).encode("utf-8", "replace")
    ),
)


# One app serves all examples: each must stand whatever came before it.
@given(body=files, query=queries)
@settings(max_examples=80)
async def test_nothing_that_is_sent_is_answered_500(
    app: App, caplog: pytest.LogCaptureFixture, body: bytes, query: str
) -> None:
    caplog.set_level(logging.DEBUG)
    run = await app.call("GET", "linking/runs")
    if not run["runs"]:
        await app.plan(graph(1, "x@contoso.com"))
        run = await app.call("GET", "linking/runs")
    for method, path in (
        ("POST", "groups/import"),
        ("POST", "linking/groups"),
        ("GET", f"linking/runs/{run['runs'][0]['id']}/groups/x/difference"),
    ):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        answer = await app.host.handle(method, f"/{path}?{query}", headers, body)
        shown = answer.get_body().decode()
        assert answer.status_code in {200, 201, 202, 400, 404, 409, 413}, shown
        if path == "groups/import" and answer.status_code == 202:
            job = await app.wait(f"groups/imports/{json.loads(shown)['id']}", "done")
            assert job["phase"] == "done"
    assert MARK not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()


def read(file: str, **columns: str) -> tuple[list[GroupRow | Problem], Reading]:
    notes = Notes()
    return list(read_groups(file.encode(), columns=columns, notes=notes)), notes.reading()


@pytest.mark.parametrize(
    "header",
    [
        *("group;Benutzername", "Gruppe;Anmeldename", "Groupe;Nom d'utilisateur", "Grupo;Nombre de usuario"),
        *("グループ;ユーザー名", "Gruppe;E-Mail-Adresse", "Gruppe;Mitglied", "group;signInName"),
    ],
)
def test_members_are_found_under_the_names_that_files_of_accounts_have_for_them(header: str) -> None:
    rows, reading = read(f"{header}\nSales;ada\n")
    assert rows == [GroupRow(2, "Sales", ("ada",))]
    assert reading.remarks == ()


def test_groups_that_come_without_members_are_told_with_what_was_not_read() -> None:
    _, reading = read("group;Konto\nSales;ada\nService;bob\n")
    (remark,) = reading.remarks
    assert remark.startswith("No column was read as the members of the groups, so that they come without any. Not read")
    assert "Not read: Konto." in remark
    rows, reading = read("group;Konto\nSales;ada\n", Konto="userName")
    assert (rows, reading.remarks) == ([GroupRow(2, "Sales", ("ada",))], ())
    _, reading = read("group;userName\nSales;\n")
    assert reading.remarks == ("No group of this file has a member: the columns that hold members are empty.",)


@pytest.mark.parametrize("header", ["Equipo;Benutzername", "Benutzername;Equipo"])
def test_the_column_that_is_advised_for_the_group_is_none_that_was_read_as_something_else(header: str) -> None:
    with pytest.raises(UnreadableFile) as refused:
        read(f"{header}\na;b\n")
    (advice,) = refused.value.args
    assert advice.values == {"example": "Equipo = group"}


@pytest.mark.parametrize(("members", "told"), [(19, 0), (20, 1), (21, 0)])
def test_as_many_members_as_expand_gives_at_most_are_told(members: int, told: int) -> None:
    """Graph says nothing of those that it leaves out: https://learn.microsoft.com/graph/query-parameters#expand."""
    notes = Notes()
    group = {"id": "1", "displayName": "x", "members": [{"id": str(number)} for number in range(members)]}
    assert len([*read_entra_groups(json.dumps([group]).encode(), notes=notes)]) == 1
    assert len(notes.reading().remarks) == told
