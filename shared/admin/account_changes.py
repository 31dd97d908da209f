"""What the administrator may do to one account: edit it, delete it, link it, release it. accounts.py reads it.

Every change is conditional on the account as it was read, and goes into its history.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from shared.admin.accounts import answer
from shared.admin.body import Body
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, Managed, Refused, Unfit
from shared.directory.keys import APPLICATION_ID, same_letters
from shared.directory.matching.authority import EXCLUSIONS
from shared.directory.matching.policy import Policy
from shared.directory.object_ids import NO_OBJECT_ID, read_object_id
from shared.directory.records.model import NO_EVIDENCE, Account, Authority, Link, SignInEvidence, Status
from shared.directory.records.resources import Result, retry_stale
from shared.directory.text import is_address, unfit_to_show
from shared.scim.document import keep_immutable, normalise
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue
from shared.scim.extension import extended
from shared.scim.schema import USER, ResourceType

ADMINISTRATOR = "administrator"
"""The rule of a link that was made by hand."""

Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$"),
]


class LinkRequest(Body, strict=True):
    """Whom an account is linked to by hand."""

    identity: Text
    """The identity's object id."""
    reason: Text | None = None
    """Why, for the account's history."""


class ReleaseRequest(Body, strict=True):
    """How an account is given back to local management."""

    keep_evidence: bool = True
    """Whether the identity is remembered as that of the last sign-in; false: the link was wrong."""


class EvidenceEdit(Body, strict=True):
    """The evidence in an edit; null takes a value away."""

    name_id: Text | None = None
    object_id: Text | None = None
    verified_emails: Annotated[list[Text], Field(max_length=100)] | None = None


class AccountEdit(Body, strict=True):
    """A merge patch (RFC 7396) of what the account shows under these names."""

    document: dict[str, Any] | None = None
    protected: bool | None = None
    application_id: Text | None = None
    """The key that the application itself has for the account; null takes it away. No other account may have it."""
    evidence: EvidenceEdit | None = None


async def edit_account(directory: Directory, request: Request) -> Response:
    """Change an account that is managed here, or of another one what provisioning does not manage: 200."""
    edit = AccountEdit.read(request)
    user = extended(USER, await directory.schemas.get())

    async def act(account: Account) -> Account:
        try:
            after = edited(account, edit, user)
            after.refuse_unfit(account)
            _refuse_unfit(account, after)
            return await directory.accounts.replace(account, after, by=request.by, action="edit")
        except AlreadyExists as taken:
            if taken.attribute != APPLICATION_ID:
                raise
            reason = f"the account {taken.holder} has it: take it from that one first"
            raise AlreadyExists(APPLICATION_ID, taken.holder, reason) from taken

    return answer(await _unchanged(directory, request, act))


async def release_account(directory: Directory, request: Request) -> Response:
    """Give an account back to local management: 200. One that is managed here already stays as it is."""
    asked = ReleaseRequest.read(request, required=False)

    async def act(account: Account) -> Account:
        after = released(account, keep_evidence=asked.keep_evidence)
        return await directory.accounts.replace(account, after, by=request.by, action="release")

    return answer(await _unchanged(directory, request, act))


async def link_account(directory: Directory, request: Request) -> Response:
    """Link an account by hand, or point its link at another identity: 200."""
    asked = LinkRequest.read(request)
    object_id = read_object_id(asked.identity)
    if object_id is None:
        raise InvalidValue(f"identity: {NO_OBJECT_ID}")
    asked = asked.model_copy(update={"identity": object_id})
    policy = await directory.policies.get()
    await _refuse_excluded(directory, policy, asked.identity)

    async def act(account: Account) -> Account:
        if policy.sets_aside(account.id, account.user_name):
            entry = policy.set_aside_in_words(account.id, account.user_name)
            raise Refused(
                f"setAside: the policy sets this account aside, {entry}; take that out of `setAside` there first"
            )
        after = linked(account, asked, request.by, directory.accounts.now())
        try:
            return await directory.accounts.replace(account, after, by=request.by, action="link")
        except AlreadyExists as taken:
            reason = f"the account {taken.holder} has this identity: release or delete that one first"
            raise AlreadyExists("identity", taken.holder, reason) from taken

    return answer(await _unchanged(directory, request, act))


async def delete_account(directory: Directory, request: Request) -> Response:
    """Delete an account that is managed here: 204. Its history stays, its id is never used again."""

    async def act(account: Account) -> None:
        if account.protected:
            raise Refused("protected: lift the protection first, with a PATCH of this account")
        if account.authority is Authority.IDP:
            raise Managed("status: this account is managed by the identity provider; release it first")
        await directory.accounts.delete(account, by=request.by)

    await _unchanged(directory, request, act)
    # A crash before this leaves memberships of nobody, which the sweep removes.
    await directory.members.leave(request.id)
    return Response(204)


def edited(account: Account, edit: AccountEdit, user: ResourceType) -> Account:
    """Return the account with an edit. Raises Managed where it would change what the identity provider manages."""
    before, said = account.document(), edit.model_fields_set
    document = before
    if "document" in said:
        document = keep_immutable(user, before, normalise(user, _merged(user, before, edit.document), id=account.id))
        if (external_id := document.get("externalId")) and external_id != account.external_id:
            document["externalId"] = read_object_id(external_id) or external_id
    names = sorted(name for name in before.keys() | document.keys() if before.get(name) != document.get(name))
    if names and account.authority is Authority.IDP:
        managed = "this account is managed by the identity provider; change it in Entra, or release the account first"
        raise Managed(f"{', '.join(names)}: {managed}")
    after = account.with_document(document) if names else account
    protected = bool(edit.protected) if "protected" in said else account.protected
    evidence = _evidence(account.evidence, edit.evidence) if "evidence" in said else account.evidence
    own = edit.application_id if "application_id" in said else account.application_id
    return replace(after, protected=protected, evidence=evidence, application_id=own)


def released(account: Account, *, keep_evidence: bool) -> Account:
    """Return the account unlinked and managed here, its attributes as they are.

    It is parted from the identity: only a person joins the two again.
    """
    if account.status is Status.LOCAL:
        return account
    identity = account.link.identity if account.link else account.external_id
    evidence = account.evidence
    if keep_evidence and identity:
        evidence = replace(evidence, object_id=read_object_id(identity) or identity)
    document = account.document()
    document.pop("externalId", None)
    parted = account.parted_from(identity) if identity else account.parted
    return account.with_document(document, status=Status.LOCAL, link=None, evidence=evidence, parted=parted)


def linked(account: Account, asked: LinkRequest, by: str, at: str) -> Account:
    """Return the account linked to an identity, unconfirmed until provisioning comes through the stamped externalId."""
    if account.link and same_letters(account.link.identity, asked.identity):
        return account
    if account.protected:
        raise Refused("protected: a protected account is never linked; lift the protection first")
    if account.status is Status.PROVISIONED:
        raise Managed("externalId: this account was made by the identity provider; release it first")
    link = Link(asked.identity, ADMINISTRATOR, at, by, reason=asked.reason)
    document = account.document() | {"externalId": asked.identity}
    parted = account.joined_with(asked.identity)
    return account.with_document(document, status=Status.CLAIMED, link=link, retired=False, parted=parted)


async def _refuse_excluded(directory: Directory, policy: Policy, identity: str) -> None:
    """Raise Refused for an identity that the policy excludes, or the last plan did, by its name or in a review."""
    left_open = await directory.left_open.find(identity)
    if policy.excludes(identity, identity) or (left_open and left_open[1] in EXCLUSIONS):
        raise Refused(
            "identity: it is excluded, by the policy or by a review of the last plan; take it out of `excluded` there, "
            "and plan a run again"
        )


def _refuse_unfit(before: Account, after: Account) -> None:
    """Raise Unfit for what an import refuses and SCIM may send: its values are strings of any kind (RFC 7643)."""
    shown = after.document().get("displayName") or ""
    if shown != before.document().get("displayName") and (why := unfit_to_show(shown)):
        raise Unfit(f"displayName: {why}")
    known = {*before.emails, *before.evidence.verified_emails}
    for name, addresses in (("emails", after.emails), ("evidence.verifiedEmails", after.evidence.verified_emails)):
        for address in addresses:
            if address not in known and not is_address(address):
                raise Unfit(f"{name}: {address!r:.100} is no e-mail address: write one as name@domain")


def _merged(user: ResourceType, before: Mapping[str, Any], patch: object) -> dict[str, Any]:
    """Return a document with a merge patch applied; null stays null, which normalise() reads as an absent value."""
    if not isinstance(patch, dict):
        raise InvalidValue("document: must be an object of the attributes to change")
    named: dict[str, Any] = {}
    for name, value in patch.items():
        extension, attribute = user.find_extension(name), user.attributes.find(name)
        if extension is None and (attribute is None or "readOnly" in attribute.mutability):
            raise InvalidValue(f"document: {name} is no attribute that can be set; GET /scim/v2/Schemas lists them")
        named[extension.urn if extension else attribute.name if attribute else name] = value
    return _merge(before, named)


def _merge(before: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(before)
    for name, value in patch.items():
        had = merged.get(name)
        merged[name] = _merge(had, value) if isinstance(had, dict) and isinstance(value, dict) else value
    return merged


def _evidence(known: SignInEvidence, edit: EvidenceEdit | None) -> SignInEvidence:
    if edit is None:
        return NO_EVIDENCE
    said = edit.model_fields_set
    return SignInEvidence(
        edit.name_id if "name_id" in said else known.name_id,
        _object_id(edit.object_id) if "object_id" in said else known.object_id,
        tuple(edit.verified_emails or ()) if "verified_emails" in said else known.verified_emails,
    )


def _object_id(text: str | None) -> str | None:
    if text is None:
        return None
    if (object_id := read_object_id(text)) is None:
        raise InvalidValue(f"evidence.objectId: {NO_OBJECT_ID}; null takes it away")
    return object_id


async def _unchanged(directory: Directory, request: Request, act: Callable[[Account], Awaitable[Result]]) -> Result:
    async def checked(account: Account) -> Result:
        request.check_version(account.version)
        return await act(account)

    return await retry_stale("account", lambda: directory.accounts.get_any(request.id), checked)
