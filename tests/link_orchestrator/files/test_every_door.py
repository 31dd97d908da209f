"""Workbooks that are encrypted, have macros or are no xlsx: at every door they are said as what they are."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.link_orchestrator.files.workbooks import ODS, archive, compound, encrypted, with_macros, xlsx
from tests.link_orchestrator.running import App, Refusal, graph, object_id

DOORS = ("accounts/import", "groups/import", "linking/identities", "linking/groups", "linking/runs/{id}/decisions")
ENCRYPTED = "encrypted, by a password or a sensitivity label. Save it without one, as .xlsx or CSV"
REFUSED: Mapping[str, tuple[bytes, str]] = {
    "encrypted": (encrypted(), ENCRYPTED),
    "encrypted ods": (
        archive({"mimetype": ODS, "META-INF/manifest.xml": "<m><encryption-data/></m>", "content.xml": "x"}),
        ENCRYPTED,
    ),
    "xls": (compound("Workbook"), r"workbook of an old kind \(.xls\), or a document. Save it as .xlsx or CSV"),
    "xlsb": (archive({"xl/workbook.bin": "x"}), r"binary workbook \(.xlsb\). Save it as .xlsx or CSV"),
    "half": (xlsx({"S": [["userName"], ["ada"]]})[:3_000], "damaged. Open it in a spreadsheet and save it again"),
}


@pytest.mark.parametrize("door", DOORS)
async def test_what_cannot_be_read_is_said_as_what_it_is_with_the_remedy(app: App, door: str) -> None:
    run = await app.plan(graph(1, "ada@contoso.com")) if "{id}" in door else {}
    for file, why in REFUSED.values():
        with pytest.raises(Refusal, match=why) as refusal:
            await app.call("POST", door.format(**run), file, "application/octet-stream")
        assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("door", "rows"),
    [
        ("accounts/import", [["userName", "title"], ["ada", "x"]]),
        ("groups/import", [["group", "userName"], ["staff", "ada"]]),
        ("linking/identities", [["id", "userPrincipalName", "mail"], [object_id(1), "ada@contoso.com", ""]]),
    ],
)
async def test_a_workbook_with_macros_is_read_like_any_other(app: App, door: str, rows: list[list[str]]) -> None:
    job = await app.call("POST", door, with_macros(xlsx({"S": rows})), "application/vnd.ms-excel.sheet.macroEnabled.12")
    assert (job["reading"]["format"], job["reading"]["rows"]) == ("xlsx", 1)


async def test_a_workbook_of_entras_groups_is_refused_with_what_to_send(app: App) -> None:
    with pytest.raises(Refusal, match="let the plan read the groups from Microsoft Graph"):
        await app.call("POST", "linking/groups", with_macros(xlsx({"S": [["id", "displayName"], ["1", "staff"]]})))
