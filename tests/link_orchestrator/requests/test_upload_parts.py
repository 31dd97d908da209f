"""Identities of a company that is larger than a file may be: uploaded in parts, planned as one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.link_orchestrator.running import App, Refusal, csv_file, graph


async def upload(app: App, *people: dict[str, Any], after: str = "") -> Any:
    return await app.call("POST", "linking/identities", {"value": list(people)}, **({"after": after} if after else {}))


async def test_a_run_over_the_last_part_plans_the_identities_of_all(app: App) -> None:
    await app.bring(csv_file(*({"userName": f"{name}@contoso.com"} for name in ("ann", "bob", "cleo"))))
    first = await upload(app, graph(1, "ann@contoso.com"), graph(2, "bob@contoso.com"))
    second = await upload(app, graph(2, "renamed@contoso.com"), after=first["id"])
    third = await upload(app, graph(3, "cleo@contoso.com"), after=second["id"])
    assert third["counts"] == {"read": 4, "problems": 0}
    run = await app.call("POST", "linking/runs", {"identities": third["id"]})
    run = await app.wait(f"linking/runs/{run['id']}", "planned")
    assert run["counts"] == {"link": 3, "noIdentity": 0}, "of an object id that comes twice, the first counts"
    assert (await app.apply(run, links=3))["counts"]["linked"] == 3


async def test_a_former_part_stays_an_upload_of_its_own(app: App) -> None:
    await app.bring(csv_file({"userName": "ann@contoso.com"}, {"userName": "bob@contoso.com"}))
    first = await upload(app, graph(1, "ann@contoso.com"))
    await upload(app, graph(2, "bob@contoso.com"), after=first["id"])
    run = await app.call("POST", "linking/runs", {"identities": first["id"]})
    run = await app.wait(f"linking/runs/{run['id']}", "planned")
    assert run["counts"] == {"link": 1, "noIdentity": 1}


@pytest.mark.parametrize(("after", "status"), [("nothing", 404), ("an import", 400)])
async def test_a_part_comes_after_an_upload_only(app: App, after: str, status: int) -> None:
    job = await app.bring(csv_file({"userName": "ann@contoso.com"}))
    with pytest.raises(Refusal) as refusal:
        await upload(app, graph(1, "ann@contoso.com"), after=job["id"] if after == "an import" else "identities0")
    assert refusal.value.status == status
    assert "after: name an upload" in refusal.value.detail or status == 404
