"""Accounts that were imported after a plan was made, on the pages of that plan."""

from __future__ import annotations

from tests.link_orchestrator.portal.door import Door
from tests.link_orchestrator.portal.runs import api_of
from tests.link_orchestrator.running import POLICY
from tests.link_orchestrator.test_imported_since import FIRST, PEOPLE, SECOND


async def test_the_pages_of_the_plan_its_approval_and_the_overview_say_so(door: Door) -> None:
    async with api_of(door) as api:
        await api.call("PUT", "directory/policy", POLICY)
        await api.bring(FIRST)
        run = await api.plan(*PEOPLE)
        await api.bring(SECOND)
    told = "the plan does not know 1 account that imports brought or changed since it was started"
    for path in (f"runs/{run['id']}", f"runs/{run['id']}/approve"):
        text = (await door.get(path)).text
        assert told in text.replace("The plan does", "the plan does"), path
        assert "make another one" in text
    assert "It does not know the accounts that were imported since" in (await door.get("")).text
