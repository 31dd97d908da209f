"""On whom a later run decides again because of others: each a story of a few people, over HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from shared.directory.directory import Directories
from shared.directory.keys import Key
from shared.directory.records.model import DIGEST_OF_FACTS, Account, Status
from shared.tables.port import Replace
from tests.link_orchestrator.running import App, csv_file, graph, object_id

OTHERS = [{"userName": f"other{n}", "email": "", "emailVerified": ""} for n in range(30)]
"""So many that one who changes is few: a run that finds more changed plans everything."""
JO = {"userName": "jo@contoso.com", "email": "jo@contoso.com", "emailVerified": "yes"}
RITA = {"userName": "rita", "email": "rita.alias@contoso.com", "emailVerified": ""}
ALIAS = graph(3, "rita@contoso.com", otherMails=["rita.alias@contoso.com"])


async def nothing(app: App) -> None: ...


async def a_second_match_is_deleted(app: App) -> None:
    await app.call("DELETE", f"accounts/{(await app.account('jo.old'))['id']}")


async def the_address_is_given_up(app: App) -> None:
    account = (await app.account("rita"))["id"]
    emails = [{"value": "rita.new@contoso.com", "type": "work"}]
    await app.call("PATCH", f"accounts/{account}", {"document": {"emails": emails}})


async def the_account_appears(app: App) -> None:
    await app.bring(csv_file({"userName": "late@contoso.com"}))


class Story(NamedTuple):
    """Accounts and identities before, what happens to an account, identities afterwards, decisions before and then."""

    accounts: Sequence[dict[str, str]]
    before: Sequence[dict[str, Any]]
    happens: Callable[[App], Awaitable[None]]
    after: Sequence[dict[str, Any]]
    decided: dict[int, str]
    again: dict[int, str]


ONE, LATE = graph(1, "jo@contoso.com"), graph(1, "late@contoso.com")
RIVAL, ELSEWHERE = (graph(2, "x@contoso.com") | {"mail": f"{name}@contoso.com"} for name in ("jo", "elsewhere"))
NAMESAKE = graph(4, "z@contoso.com", otherMails=["rita.alias@contoso.com"])
STORIES = {
    "a second match is deleted": Story(
        [JO, {"userName": "jo.old", "email": "jo@contoso.com", "emailVerified": ""}],
        [ONE],
        a_second_match_is_deleted,
        [ONE],
        {1: "ambiguous"},
        {1: "link"},
    ),
    "a rival leaves": Story([JO], [ONE, RIVAL], nothing, [ONE], {1: "conflict", 2: "conflict"}, {1: "link"}),
    "a rival changes": Story(
        [JO], [ONE, RIVAL], nothing, [ONE, ELSEWHERE], {1: "conflict", 2: "conflict"}, {1: "link", 2: "noAccount"}
    ),
    "a rival comes": Story([RITA], [ALIAS], nothing, [ALIAS, NAMESAKE], {3: "review"}, {3: "conflict", 4: "conflict"}),
    "three more come by the name, one by an alias": Story(
        [JO],
        [LATE],
        nothing,
        [
            LATE,
            *(graph(n, "jo@contoso.com", mail=None) for n in (5, 6, 7)),
            graph(8, "y@x.org", otherMails=["jo@contoso.com"]),
        ],
        {1: "noAccount"},
        {5: "conflict", 6: "conflict", 7: "conflict", 8: "conflict"},
    ),
    "an address is given up": Story([RITA], [ALIAS], the_address_is_given_up, [ALIAS], {3: "review"}, {3: "noAccount"}),
    "an account appears": Story([], [LATE], the_account_appears, [LATE], {1: "noAccount"}, {1: "link"}),
}


async def as_an_earlier_version(app: App, user_name: str, digest: str = "", **changes: Any) -> None:
    """Store an account as a version that kept no digest of facts, or one of other facts."""
    directory = await Directories(app.tables).open("main")
    (before,) = await directory.accounts.list_by(Key("userName", user_name))
    after = before.with_document(before.document() | changes)
    columns = after.columns() | {DIGEST_OF_FACTS: digest or None}
    await app.tables.commit(directory.keys.home(before.id), [Replace(before.key, columns, before.etag)])


@pytest.mark.parametrize("digest", ["", "eb73d0ec5a9b0126"], ids=["no digest", "a digest of other facts"])
@pytest.mark.parametrize("full", [True, False])
async def test_an_account_that_an_earlier_version_wrote_is_linked(app: App, digest: str, full: bool) -> None:
    await app.bring(csv_file(JO, *OTHERS))
    if not full:
        await app.apply(await app.plan(ALIAS), links=0)
    await as_an_earlier_version(app, "jo@contoso.com", digest)
    run = await app.plan(ONE, full=full)
    assert await decisions(app, run) == {1: "link"}
    assert (await app.apply(run))["counts"]["linked"] == 1


async def test_an_account_that_an_earlier_version_wrote_is_looked_at_each_time(app: App) -> None:
    await app.bring(csv_file(RITA, *OTHERS))
    await as_an_earlier_version(app, "rita")
    run = await app.plan(ALIAS)
    assert await decisions(app, run) == {3: "review"}
    await app.apply(run, links=0)
    await as_an_earlier_version(app, "rita", emails=[{"value": "rita.new@contoso.com"}])
    later = await app.plan(ALIAS)
    assert later["options"]["since"] == [run["id"]]
    assert await decisions(app, later) == {3: "noAccount"}


def test_an_account_that_was_never_parted_has_the_digest_that_earlier_versions_made_of_it() -> None:
    document = {"userName": "ann@contoso.com", "emails": [{"value": "ann@contoso.com"}], "externalId": "x"}
    ann = Account.new("a-1", document, Status.LOCAL, "2026-01-01T00:00:00.000Z")
    assert ann.columns()[DIGEST_OF_FACTS] == "fd7b570c8cd765d5"
    assert replace(ann, parted=("y",)).columns()[DIGEST_OF_FACTS] != "fd7b570c8cd765d5"


async def decisions(app: App, run: Any) -> dict[int, str]:
    """Return the decision on each identity of a plan, by its number."""
    numbers = {object_id(number): number for number in range(10)}
    rows = [row for row in await app.decisions(run) if "identity" in row]
    return {numbers[row["identity"]["objectId"]]: row["decision"] for row in rows}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_whoever_it_bears_on_is_decided_again(app: App, story: Story) -> None:
    await app.bring(csv_file(*story.accounts, *OTHERS))
    run = await app.plan(*story.before)
    assert await decisions(app, run) == story.decided
    await app.apply(run, links=0)
    await story.happens(app)
    later = await app.plan(*story.after)
    assert later["options"]["since"] == [run["id"]], "it looked at what changed only"
    assert await decisions(app, later) == story.again
