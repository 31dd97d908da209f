"""Changing the directory's policy, and who changed it. It is read by shared/admin/accounts.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from pydantic import ValidationError

from link_orchestrator.run import renew_waiting
from link_orchestrator.source import RunSource, Sources, refuse_unready
from shared.admin.parameters import page_answer, read_count, read_cursor
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.matching.domains import of_mail
from shared.directory.matching.policy import LOGIN_NAMES, Policy, Schedule, Trust, read_asked
from shared.host.problems import in_words
from shared.json_text import dump
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue


async def put_policy(directory: Directory, request: Request, sources: Sources) -> Response:
    """Replace the directory's policy. An attribute that is left out gets its default; `warnings` say what is risked.

    With If-Match (the ETag that GET shows), 412 where somebody changed it since.
    """
    try:
        policy = read_asked(read_json(request.body, written=True))
    except ValueError as error:
        raise InvalidValue(str(error)) from error
    if policy.schedule is not None:
        policy = replace(policy, schedule=_checked(directory, policy.schedule, sources))
    await directory.policies.set(policy, request.by, request.check_version)
    # From this answer on no run approves itself by the policy before, also one that has just read it.
    await renew_waiting(directory)
    return Response(200, dump(policy.to_json() | {"warnings": _warnings(policy)}))


async def list_warnings(directory: Directory, request: Request) -> Response:
    """Return what is risked by the policy as it is stored, and what it leaves without effect."""
    return Response(200, dump({"warnings": _warnings((await directory.policies.read()).policy)}))


async def list_history(directory: Directory, request: Request) -> Response:
    """List who changed the policy, and suspended or resumed its schedule, the latest change first."""
    entries, cursor = await directory.policies.history(read_cursor(request, "history"), read_count(request))
    people = await directory.activity.people(entry["by"] for entry in entries)
    told = [entry | ({"person": people[entry["by"]]} if entry["by"] in people else {}) for entry in entries]
    return page_answer(request, "history", told, cursor)


def _warnings(policy: Policy) -> list[dict[str, str]]:
    """Return what the administrator risks by a policy, and what it leaves without effect."""
    found: list[dict[str, str]] = []
    if policy.trusts_unverified:
        found.append({"code": "trustEmails", "warning": TRUSTED, "remedy": TRUSTED_REMEDY})
    strong = [one.rule.value for one in policy.rules if one.rule in LOGIN_NAMES and one.trust is Trust.STRONG]
    if strong:
        rules = ", ".join(strong)
        found.append({"code": "loginNames", "warning": LOGIN.format(rules), "remedy": LOGIN_REMEDY})
    if policy.matching_ended:
        found.append({"code": "matchingEnded", "warning": ENDED, "remedy": ENDED_REMEDY})
    if not policy.verified_domains:
        found.append({"code": "noVerifiedDomains", "warning": NO_DOMAINS, "remedy": "Set verifiedDomains."})
    sites = [one for one in sorted(policy.verified_domains) if of_mail(one) not in policy.verified_domains]
    if sites:
        of_people = ", ".join(map(of_mail, sites))
        found.append(
            {
                "code": "webSite",
                "warning": SITES.format(", ".join(sites)),
                "remedy": SITES_REMEDY.format(of_people),
            }
        )
    return found


TRUSTED: Final = (
    "Every address of an account in the verified domains is taken as its owner's. If somebody registered an account "
    "here with a colleague's address, that colleague is linked to it, and gets what is in it."
)
TRUSTED_REMEDY: Final = (
    "Look at the rows by the rule mail before you approve. A link is a review where the names of the two differ, where "
    "the account is deactivated, or where another identity has the address, too; no run with such a link approves "
    "itself. If the application knows which addresses it verified, import that, and set trustEmails to verified."
)
LOGIN: Final = (
    "Strong rules compare what is made of a name, which nobody verified: {}. Where two people of two companies come to "
    "one name, one is linked to the account of the other if that one is not in the source."
)
LOGIN_REMEDY: Final = (
    "Make them weak until you have looked at the reviews. A link is a review where the names of the two differ, and no "
    "run with such a link approves itself."
)
ENDED: Final = (
    "Matching has ended: no run is started or approved, the schedule starts none, and no create over SCIM links an "
    "account or a group. A run that is being applied goes on. Links by hand, imports and undos work as before."
)
ENDED_REMEDY: Final = 'To turn it on again, send the policy with "matchingEnded": false (PUT /directory/policy).'
SITES: Final = (
    "Verified domains are named like web sites, in which hardly anybody has an address: {}. Addresses in the domains "
    "without www prove nothing until these are named."
)
SITES_REMEDY: Final = "Put {} into verifiedDomains. If people have addresses like name@www.contoso.com, keep both."
NO_DOMAINS: Final = "No verified domains are set: no address and no name proves anything, and only past sign-ins link."


def _checked(directory: Directory, schedule: Schedule, sources: Sources) -> Schedule:
    """Return a schedule with its source as it is read. Raises InvalidValue naming what is wrong with that.

    Raises Busy where the schedule is on and its source is not ready.
    """
    try:
        source = RunSource.model_validate(schedule.source)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[:10]
        told = (f"{'.'.join(map(str, ('schedule', 'source', *item['loc'])))}: {in_words(item)}" for item in found)
        raise InvalidValue("; ".join(told)) from None
    if schedule.on:
        try:
            refuse_unready(sources, directory.name)
        except Busy as unready:
            raise Busy(f"schedule.{unready}") from None
    return replace(schedule, source={"graph": source.graph.to_json()})
