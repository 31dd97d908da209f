"""Whose an object id is, by what was read and is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from link_orchestrator.requests import known
from shared.directory.text import timestamp
from tests.link_orchestrator.running import App, Refusal, graph, object_id

PATH = "linking/known-identities"


async def test_an_object_id_is_known_by_the_latest_upload_that_has_it(app: App) -> None:
    first = await app.upload(graph(1, "ada@contoso.com", displayName="Ada Byron"), graph(2, "bob@contoso.com"))
    last = await app.upload(graph(1, "ada@contoso.com", displayName="Ada Lovelace"))
    written = "{" + object_id(1).upper() + "}"
    found = await app.call("GET", f"{PATH}/{written}")
    assert (found["identity"]["displayName"], found["knownBy"]["id"]) == ("Ada Lovelace", last)
    assert (await app.call("GET", f"{PATH}/{object_id(2)}"))["knownBy"]["id"] == first
    for nobody, status, told in ((object_id(3), 404, "no such identity in what was read"), ("nonsense", 400, "GUID")):
        with pytest.raises(Refusal, match=told) as refusal:
            await app.call("GET", f"{PATH}/{nobody}")
        assert refusal.value.status == status


async def test_nobody_is_known_by_an_upload_whose_term_is_over(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    await app.upload(graph(1, "ada@contoso.com"))
    monkeypatch.setattr(known, "kept_until", lambda job: timestamp(datetime.now(UTC) - timedelta(seconds=1)))
    with pytest.raises(Refusal, match="no such identity"):
        await app.call("GET", f"{PATH}/{object_id(1)}")


@pytest.mark.parametrize("planned", [True, False])
async def test_somebody_is_known_by_their_user_principal_name_too(app: App, planned: bool) -> None:
    people = (graph(1, "ada@contoso.com"), graph(2, "ada@contoso.company"), graph(3, "adä@contoso.com"))
    await (app.plan(*people) if planned else app.upload(*people))
    for name, number in (("Ada@CONTOSO.com", 1), ("ada@contoso.company", 2), ("adä@contoso.com", 3)):
        assert (await app.call("GET", f"{PATH}/{name}"))["identity"]["id"] == object_id(number)
    with pytest.raises(Refusal, match="no such identity") as refusal:
        await app.call("GET", f"{PATH}/ada@contoso")
    assert refusal.value.status == 404


async def test_a_name_that_two_people_have_is_nobodys(app: App) -> None:
    await app.upload(graph(1, "ada@contoso.com"), graph(2, "ADA@contoso.com"))
    with pytest.raises(Refusal, match="2 people have this name") as refusal:
        await app.call("GET", f"{PATH}/ada@contoso.com")
    assert refusal.value.status == 400


async def test_a_name_is_not_looked_for_among_very_many_before_a_plan_has_them_in_order(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    await app.upload(graph(1, "ada@contoso.com"))
    monkeypatch.setattr(known, "MOST_SCANNED", 0)
    with pytest.raises(Refusal, match="no such identity"):
        await app.call("GET", f"{PATH}/ada@contoso.com")
