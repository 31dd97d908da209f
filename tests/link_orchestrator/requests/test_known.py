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
