"""Starting a run, over uploads or over a source to read from. It changes nothing before it is approved.

What comes after the plan is in reviews.py, approval.py, verifications.py and undos.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StrictBool, StrictStr, WithJsonSchema

from link_orchestrator import staged
from link_orchestrator.kinds import ENTRA_GROUPS, IDENTITIES, RUN
from link_orchestrator.lifecycle import Orchestrations, begin
from link_orchestrator.messages import MEMBERSHIPS_AN_ACCOUNT, slices_for
from link_orchestrator.passes.compare import find_former
from link_orchestrator.passes.read import KEPT_DAYS
from link_orchestrator.requests.jobs import answer, find_job, page_of_rows
from link_orchestrator.requests.mapping import choose_mapping
from link_orchestrator.requests.uploads import find_upload
from link_orchestrator.run import ASSIGNED, OWN_POLICY, PILOTS, REPORTS_ASIDE, ended_in_words
from link_orchestrator.source import RunSource, SourceFailed, Sources, refuse_unready
from shared.admin.body import Body
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.matching.policy import Policy, read_asked
from shared.directory.work import seen
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue


class RunRequest(Body):
    """Identities by the id of their upload, or a source to read them from."""

    identities: str | None = None
    """The id of an upload of identities."""
    source: RunSource | None = None
    groups: StrictStr | StrictBool | None = None
    """The id of an upload of Entra's groups; or true: those in the scope of the source."""
    assigned: StrictStr | None = None
    """The id of an upload of the people who are assigned to the application; provisioning leaves out all others."""
    policy: Annotated[dict[str, Any], WithJsonSchema({"$ref": "#/components/schemas/Policy"})] | None = None
    """A policy for this run, instead of the directory's."""
    mapping: dict[str, Any] | None = None
    """An attribute mapping for this run, instead of the stored one."""
    pause_provisioning: bool = True
    """Whether SCIM writes wait while the run is applied."""
    expires_hours: float = Field(default=7 * 24, gt=0, le=30 * 24)
    """Hours for which the plan can be approved."""
    full: bool = False
    """Decide on everything, and not only on what changed since the runs before."""
    report_set_aside: bool = False
    """Report accounts that the policy sets aside like others that nobody matches."""


async def start_run(directory: Directory, request: Request, client: Orchestrations, sources: Sources) -> Response:
    """Start a linking run: 202 with the run's address. It changes nothing before approval."""
    asked = RunRequest.read(request)
    job_id = directory.jobs.new_id(RUN.name)
    options = await prepare(directory, asked, sources, job_id)
    return answer(await begin(directory, request, client, RUN, job_id, options), request, 202)


async def get_sources(directory: Directory, request: Request, sources: Sources) -> Response:
    """Return whether a run can read from Microsoft Graph, from which tenant, and which setting is missing if not."""
    missing = None
    try:
        sources.check(directory.name)
    except SourceFailed as why:
        missing = str(why)
    graph = {"ready": missing is None, "tenant": sources.tenant(directory.name) or None, "missing": missing}
    return Response(200, dump({"graph": graph}))


async def prepare(directory: Directory, asked: RunRequest, sources: Sources, job_id: str) -> dict[str, Any]:
    """Announce the stages of a run that is to begin, and return its options. It may be done again for the same run."""
    size = await directory.listing.total()
    identities, read = await _identities(directory, asked, sources, job_id)
    groups, members = await _groups(directory, asked, job_id)
    stored = await directory.policies.read()
    if ended := ended_in_words(stored):
        raise Busy(ended)
    policy = stored.policy if asked.policy is None else _policy(asked.policy)
    if policy.excluded_groups and not groups:
        raise InvalidValue(
            "groups: the policy excludes the members of groups, and this run would not know them: give the id of an "
            "upload of groups, or true with a source"
        )
    options: dict[str, Any] = {
        **identities,
        **groups,
        "policy": policy.to_json(),
        "mapping": await choose_mapping(directory, asked.mapping),
        "pauseProvisioning": asked.pause_provisioning,
        "expiresHours": asked.expires_hours,
        "slices": slices_for(size + read + members // MEMBERSHIPS_AN_ACCOUNT),
        PILOTS: 0,
    }
    if asked.policy is not None:
        options[OWN_POLICY] = True
    if asked.report_set_aside:
        options[REPORTS_ASIDE] = True
    if asked.assigned is not None and asked.source and asked.source.graph.tells_assigned:
        raise InvalidValue("assigned: the source reads who is assigned, by its servicePrincipal: name one of the two")
    if asked.assigned is not None:
        options[ASSIGNED] = [*staged.parts_of(await find_upload(directory, asked.assigned, IDENTITIES, "assigned"))]
    if asked.full:
        options["full"] = True
    # Who is in a group changes while nothing of the person does.
    elif not policy.excluded_groups and (former := await find_former(directory, options)):
        options["since"] = former
    await directory.stages.announce(job_id, _stages(job_id, groups=asked.groups, again="since" in options))
    if asked.source:
        # Later runs go on from a reading of everybody, and from no other.
        days = KEPT_DAYS if asked.source.graph.scope == "all" else 0
        await directory.stages.announce(job_id, staged.reading_names(job_id), days=days)
        if asked.source.graph.tells_assigned:
            await directory.stages.announce(job_id, [staged.assigned_of(name) for name in staged.reading_names(job_id)])
    await directory.stages.announce(job_id, seen.stages_of(job_id), days=seen.DAYS)
    return options


async def _identities(
    directory: Directory, asked: RunRequest, sources: Sources, job_id: str
) -> tuple[Mapping[str, Any], int]:
    """Return the options that say where a run's identities come from, and how many are staged already."""
    if (asked.identities is None) == (asked.source is None):
        raise InvalidValue("identities, source: give one of them: an upload's id, or a source to read from")
    if asked.source is not None:
        refuse_unready(sources, directory.name)
        # Their number, and with it the number of slices, is known once they are read.
        source: dict[str, Any] = {"source": {"graph": asked.source.graph.to_json()}}
        if tenant := sources.tenant(directory.name):
            source["tenant"] = tenant
        return {**source, "identities": staged.reading_names(job_id)[0]}, 0
    upload = await find_upload(directory, asked.identities or "", IDENTITIES, "identities")
    return {"identities": upload.id, "parts": staged.parts_of(upload)}, upload.counts["read"]


async def _groups(directory: Directory, asked: RunRequest, job_id: str) -> tuple[Mapping[str, Any], int]:
    """Return the option that says where a run's groups are staged, and how many members are staged already."""
    if asked.groups is None or asked.groups is False:
        return {}, 0
    if asked.groups is True:
        if asked.source is None:
            raise InvalidValue("groups: true reads those of the run's source: give source, or the id of an upload here")
        return {"groups": staged.groups_of(staged.reading_names(job_id)[0])}, 0
    upload = await find_upload(directory, asked.groups, ENTRA_GROUPS, "groups")
    return {"groups": upload.id}, upload.counts["members"]


def _stages(job_id: str, *, groups: str | bool | None, again: bool) -> list[str]:
    """Return the names of the stages that a run may fill, and no others: each one is looked through when it ends."""
    read: list[str] = []
    if groups is True:
        for reading in staged.reading_names(job_id):
            read += staged.entra_groups(staged.groups_of(reading))
    words = (*staged.PLANNED, *(staged.GROUPED if groups else ()), *(staged.COMPARED if again else ()))
    return [*staged.names(job_id, words), *read]


async def list_unusable(directory: Directory, request: Request) -> Response:
    """List what a run's source or upload holds that is no identity: which one in order, reason, remedy."""
    job = await find_job(directory, request, RUN)
    return await page_of_rows(directory, request, IDENTITIES, job.options["identities"])


def _policy(asked: Mapping[str, Any]) -> Policy:
    try:
        policy = read_asked(asked)
    except ValueError as error:
        raise InvalidValue(f"policy: {error}") from error
    if policy.matching_ended:
        raise InvalidValue("policy: matchingEnded is the directory's, and not a run's: leave it out here")
    return policy
