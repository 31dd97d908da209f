"""One account: who manages what of it, its link, its groups, its history; and what a person may do to it by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from link_orchestrator.names import label_of, rule_in_words
from link_orchestrator.portal.forms import NOTHING_SENT, Form
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.last_plan import Said, of_account
from shared.scim.errors import InvalidValue

GROUPS: Final = 20
"""Groups that are shown."""
CHANGES: Final = 50
"""Changes on a page."""
MOST_EARLIER: Final = 1_000
"""Changes before these among which the link is looked for."""
WAITING: Final = frozenset({"userName", "emails", "active"})
"""Attributes that provisioning cannot change before it has confirmed a link (scim_users/README.md)."""
ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
RULES: Final = {
    "administrator": "by hand",
    "review": "a decision in a review",
    "adoption": "a create by provisioning that met this account, as the policy allows",
    "return": "its identity came back after provisioning had deleted the account",
    "externalId": "the external id is the identity's object id",
    "signInObjectId": "the object id of a past sign-in",
    "nameId": "the NameID of a past sign-in",
    "userName": "the sign-in name",
    "verifiedEmail": "an e-mail address that the application verified",
    "mail": "an e-mail address in a verified domain",
    "email": "an e-mail address",
    "employeeNumber": "the employee number",
}
"""What a link rests on, in words; other rules by their names."""
KNOWN: Final = "linking/known-identities/{id}"
"""Where the API says whose an object id or user principal name is."""
NOBODY: Final = (
    "identity: nobody of this sign-in name is in what was read and is kept: type the person's object ID, or bring the "
    "users of Entra again by Import"
)
NOT_KEPT: Final = "a value that is not kept"
"""What an attribute became where nobody knows it any more."""

Document = Mapping[str, Any]


class Attribute(NamedTuple):
    """An attribute of an account: its name, its value as text, and who changes it."""

    name: str
    value: str
    managed: str


class Field(NamedTuple):
    """A field of the form that edits an account: the attribute's name, its label, its value as text; `lines` of it."""

    name: str
    label: str
    value: str
    hint: str = ""
    lines: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What the page of one account shows, and that of its form."""

    account: Document
    version: str = ""
    groups: Sequence[Document] = ()
    more_groups: bool = False
    older: Document | None = None
    """An older page of its history, where that is asked for."""
    earlier: Sequence[Document] = ()
    """Changes before its latest ones, where the link was made before these."""
    form: Form = NOTHING_SENT
    conflict: bool = False
    """Whether somebody changed the account while this person's form was open."""
    person: Document | None = None
    """Whom it is linked with, as they were read, None where nobody knows."""
    person_read: str = ""
    """When they were read."""
    planned: Said | None = None
    """What the last plan says of it, None where no plan that is kept knows it."""

    @property
    def deleted(self) -> bool:
        """Whether nothing but its history is left."""
        return bool(self.account.get("deleted"))

    @property
    def local(self) -> bool:
        """Whether it is managed here."""
        return bool(self.account["sourceOfAuthority"] == "local")

    @property
    def rule(self) -> str:
        """What its link rests on."""
        rule: str = self.account["link"]["rule"]
        return RULES.get(rule) or rule_in_words(rule)

    @property
    def linked_by(self) -> Document:
        """Who linked it, with the name that its history knows."""
        by: str = self.account["link"]["by"]
        return next((change for change in self._known if change["by"] == by), {"by": by})

    @property
    def changes(self) -> Sequence[Document]:
        """A page of its history, the latest change first."""
        return [worded(change) for change in (self.older or self.account)["history"][::-1]]

    @property
    def cursor(self) -> str:
        """Where the changes before these are."""
        return str((self.older or self.account).get("cursor", ""))

    @property
    def _known(self) -> Sequence[Document]:
        return [*self.earlier, *self.account["history"]]

    @property
    def name_before_link(self) -> str:
        """The user name that it had when it was linked last, "" where that is the one that it has now."""
        history = self._known
        made = (n for n, one in enumerate(history) if _links(one))
        since = history[max(made, default=len(history)) :]
        names = (str(one["values"]["userName"]["from"]) for one in since if "userName" in one.get("values", {}))
        first = next(names, "")
        return "" if first == self.account.get("userName") else first

    @property
    def attributes(self) -> Sequence[Attribute]:
        """Its attributes, each with who changes it."""
        return [Attribute(name, text, self._managed(name)) for name, text in flat(self.account["document"])]

    @property
    def own(self) -> Sequence[Attribute]:
        """What is always changed here, and never by provisioning."""
        evidence = self.account["evidence"]
        told = {
            "applicationId": self.account.get("applicationId") or "",
            "formerUserNames": ", ".join(self.account["formerUserNames"]),
            "protected": "yes" if self.account["protected"] else "no",
            "evidence.nameId": evidence.get("nameId", ""),
            "evidence.objectId": evidence.get("objectId", ""),
            "evidence.verifiedEmails": ", ".join(evidence.get("verifiedEmails", ())),
        }
        return [Attribute(name, text, "here") for name, text in told.items()]

    def _managed(self, name: str) -> str:
        if self.local:
            return "here"
        if self.account["protected"]:
            return "nobody: protected"
        link = self.account["link"]
        waits = link and not link["confirmed"] and name.partition(".")[0].partition("[")[0] in WAITING
        return "Entra, once confirmed" if waits else "Entra"

    @property
    def fields(self) -> Sequence[Field]:
        """The fields that may be edited here, as they are now."""
        return [*self._managed_fields, *self._own_fields] if self.local else self._own_fields

    @property
    def _own_fields(self) -> list[Field]:
        """The fields that are edited here whoever manages the account."""
        evidence = self.account["evidence"]
        return [
            Field("applicationId", "Key of the application", self.account.get("applicationId") or "", OWN_KEY),
            Field("evidence.nameId", "NameID of a past sign-in", evidence.get("nameId", ""), EVIDENCE),
            Field("evidence.objectId", "Object ID of a past sign-in", evidence.get("objectId", "")),
            Field(
                "evidence.verifiedEmails",
                "E-mail addresses that the application verified",
                "\n".join(evidence.get("verifiedEmails", ())),
                "One per line.",
                lines=True,
            ),
        ]

    @property
    def _managed_fields(self) -> list[Field]:
        """The fields that are edited here as long as the account is managed here."""
        document = self.account["document"]
        name, enterprise = document.get("name", {}), document.get(ENTERPRISE, {})
        return [
            Field("userName", "Sign-in name", document["userName"], "What the person signs in with."),
            Field("displayName", "Display name", document.get("displayName", "")),
            Field("name.givenName", "First name", name.get("givenName", "")),
            Field("name.familyName", "Last name", name.get("familyName", "")),
            Field("title", "Job title", document.get("title", "")),
            Field("emails", "E-mail addresses", "\n".join(_addresses(document)), "One per line.", lines=True),
            Field("employeeNumber", "Employee number", enterprise.get("employeeNumber", "")),
            Field("department", "Department", enterprise.get("department", "")),
        ]

    @property
    def newer(self) -> Sequence[tuple[str, str, str]]:
        """What differs between the account as it is now and what was typed: label, now, typed.

        Also of what may not be edited any more: somebody linked the account while it was typed.
        """
        now = {one.name: one for one in (*self._managed_fields, *self._own_fields)}
        typed = {name: one for name, one in now.items() if name in self.form}
        return [
            (one.label, one.value.replace("\n", ", "), ", ".join(self.form[name].split("\n")))
            for name, one in typed.items()
            if _clean(self.form[name]) != _clean(one.value)
        ]


OWN_KEY: Final = "Under which the application itself knows the account. No other account may have it."
EVIDENCE: Final = "A run links by it. It is never shown over SCIM."


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the attributes of a SCIM document by their paths, each with its value as text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if name or key not in ("schemas", "id"):
                short = "enterprise" if key == ENTERPRISE else key
                yield from flat(inner, f"{name}.{short}" if name else short)
    elif isinstance(value, list):
        for number, one in enumerate(value, 1):
            if not isinstance(one, dict):
                yield f"{name}[{number}]", _text(one)
                continue
            mark = one.get("type") or str(number)
            primary = " (primary)" if one.get("primary") else ""
            rest = {key: inner for key, inner in one.items() if key not in ("type", "primary", "value")}
            if "value" in one:
                yield f"{name}[{mark}]", f"{_text(one['value'])}{primary}"
            yield from flat(rest, f"{name}[{mark}]")
    else:
        yield name, _text(value)


def in_line(value: Any) -> str:
    """Return the value of an attribute as one line of text, addresses as addresses; "" for none."""
    if value is None:
        return ""
    parts = dict(flat(value)) if isinstance(value, dict | list) else {"": _text(value)}
    return ", ".join(text for text in parts.values() if text)


def worded(change: Document) -> Document:
    """Return a change with what it made of which values, and in words the other attributes that it touched."""
    told = [*_told(change)]
    others = [label_of(name) for name in change["attributes"] if name not in change.get("values", {})]
    return {
        **change,
        "told": [(label_of(name), *texts) for name, *texts in told],
        "attributes": others,
    }


def _told(change: Document) -> Iterator[tuple[str, str, str]]:
    """Yield what a change made of which values, as far as that is known: the name, and two texts, "" for none."""
    for name, values in change.get("values", {}).items():
        was, became = (dict(flat(values[side], name)) if side in values else {} for side in ("from", "to"))
        if "unknown" in values:
            became = dict.fromkeys(was or [name], NOT_KEPT)
        short = f"enterprise.{name[len(ENTERPRISE) + 1 :]}"
        for one in dict.fromkeys((*was, *became)):
            if was.get(one) != became.get(one):
                yield (short if one.startswith(ENTERPRISE) else one), was.get(one, ""), became.get(one, "")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _addresses(document: Document) -> list[str]:
    return [one["value"] for one in document.get("emails", ()) if one.get("value")]


def _clean(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


async def find_known(asked: Asked, identity: str) -> Document | None:
    """Return whose an id or name is, as the API has it; None where nobody knows, and for what is neither."""
    try:
        found: Document | None = await asked.api.find(KNOWN, id=identity)
    except InvalidValue:
        return None
    return found


def _links(change: Document) -> bool:
    """Tell whether a change made a link where there was none."""
    return "link" in change["attributes"] and not change["before"].get("link")


async def _earlier(asked: Asked, document: Document) -> Sequence[Document]:
    """Return changes before those at hand, if the account was renamed and the link may have been made among them."""
    if not document.get("formerUserNames") or "cursor" not in document or any(map(_links, document["history"])):
        return ()
    at = {"cursor": document["cursor"], "count": str(MOST_EARLIER)}
    earlier: Sequence[Document] = (await asked.api.get("accounts/{id}", id=asked.path["id"], **at))["history"]
    return earlier


async def read(asked: Asked, *, groups: bool = True) -> Account:
    """Return the view of the account that the page's path names, with what was typed before a refusal."""
    here, cursor = {"id": asked.path["id"]}, asked.query.get("changes", "")
    answer = await asked.api.call("GET", "accounts/{id}", {**here, "count": str(CHANGES)})
    document = json.loads(answer.text)
    older = await asked.api.get("accounts/{id}", **here, cursor=cursor, count=str(CHANGES)) if cursor else None
    page: Document = {"groups": []}
    if groups and not document.get("deleted"):
        page = await asked.api.get("groups", member=here["id"], count=str(GROUPS))
    link = document.get("link") if groups else None
    known = await find_known(asked, link["identity"]) if link else None
    return Account(
        document,
        answer.version or "",
        page["groups"],
        "cursor" in page,
        older,
        await _earlier(asked, document),
        asked.form,
        asked.refusal is not None and asked.refusal.status == 412,
        person=known and known["identity"],
        person_read=known["knownBy"]["started"] if known else "",
        planned=None if document.get("deleted") else await of_account(asked, document),
    )


async def show(asked: Asked) -> Outcome:
    """Show one account."""
    view = await read(asked)
    return Shown("account.html", view, () if view.deleted else ("deleted",))


async def show_form(asked: Asked) -> Outcome:
    """Show the form that edits it."""
    view = await read(asked, groups=False)
    if view.deleted:
        return Shown("account.html", view) if asked.refusal else SeeOther(f"accounts/{view.account['id']}")
    return Shown("account_edit.html", view)


async def send(asked: Asked, method: str, path: str, body: object = None) -> None:
    """Send a change of the account, on the condition that it is as the person saw it."""
    await asked.api.call(method, path, {"id": asked.path["id"]}, body, if_match=asked.form["version"] or None)


def _here(asked: Asked, said: str) -> SeeOther:
    return SeeOther(f"accounts/{asked.path['id']}", said)


async def look(asked: Asked) -> Outcome:
    """Lead to the page that says whose an object id or sign-in name is before the account is linked with it."""
    return SeeOther(f"accounts/{asked.path['id']}/link", query={"identity": await named_person(asked)})


async def named_person(asked: Asked) -> str:
    """Return the object id of the person whom a form names, by it or by the sign-in name in Entra.

    Raises InvalidValue for what is neither, and for the name of nobody who was read.
    """
    typed = asked.form["identity"].strip()
    if known := await asked.api.find(KNOWN, id=typed):  # it refuses what is neither
        return str(known["identity"]["id"])
    if "@" in typed:
        raise InvalidValue(NOBODY)
    return typed


async def release(asked: Asked) -> Outcome:
    """Give the account back to local management."""
    await send(asked, "POST", "accounts/{id}/release", {"keepEvidence": asked.form["keepEvidence"] != "no"})
    return _here(asked, "released")


async def protect(asked: Asked) -> Outcome:
    """Protect the account, or lift its protection."""
    on = asked.form["protected"] == "yes"
    await send(asked, "PATCH", "accounts/{id}", {"protected": on})
    return _here(asked, "protected" if on else "unprotected")


async def rename(asked: Asked) -> Outcome:
    """Give the account back the user name that it had before its link."""
    await send(asked, "PATCH", "accounts/{id}", {"document": {"userName": asked.form["userName"]}})
    return _here(asked, "renamed")


async def switch(asked: Asked) -> Outcome:
    """Let the person sign in, or not."""
    on = asked.form["active"] == "yes"
    await send(asked, "PATCH", "accounts/{id}", {"document": {"active": on}})
    return _here(asked, "activated" if on else "deactivated")


async def delete(asked: Asked) -> Outcome:
    """Delete the account, once its user name was typed."""
    account = await asked.api.get("accounts/{id}", id=asked.path["id"])
    # Of one that is gone by now the API says so.
    if not account.get("deleted") and asked.form["confirm"].strip() != account["userName"]:
        raise InvalidValue("confirm: type the sign-in name of this account as it is shown; nothing was deleted")
    await send(asked, "DELETE", "accounts/{id}")
    return _here(asked, "deleted")


async def edit(asked: Asked) -> Outcome:
    """Change what was typed otherwise than it is."""
    view = await read(asked, groups=False)
    # Of one that is gone by now the API says so.
    patch = {} if view.deleted else patch_of(view, asked.form)
    # What was typed for another version may be no change of this one, and is not lost: the API refuses it.
    if not patch and not view.deleted and asked.form["version"] in ("", view.version):
        return _here(asked, "unchanged")
    await send(asked, "PATCH", "accounts/{id}", patch)
    return _here(asked, "edited")


def patch_of(view: Account, form: Form) -> dict[str, Any]:
    """Return the merge patch that makes an account what a form says; of fields that are as they were, nothing."""
    changed = {
        one.name: form[one.name]
        for one in view.fields
        if one.name in form and _clean(form[one.name]) != _clean(one.value)
    }
    patch: dict[str, Any] = {}
    for name, typed in changed.items():
        text = typed.strip() or None
        match name.split("."):
            case ["applicationId"]:
                patch["applicationId"] = text
            case ["evidence", "verifiedEmails"]:
                patch.setdefault("evidence", {})["verifiedEmails"] = _clean(typed)
            case ["evidence", inner]:
                patch.setdefault("evidence", {})[inner] = text
            case _:
                _merge(patch.setdefault("document", {}), name, typed, view.account["document"])
    return patch


def _merge(document: dict[str, Any], name: str, typed: str, before: Document) -> None:
    """Put the change of one attribute into the merge patch of a SCIM document."""
    text = typed.strip() or None
    if name == "emails":
        known = {one["value"]: one for one in before.get("emails", ()) if one.get("value")}
        document["emails"] = [known.get(one, {"value": one}) for one in dict.fromkeys(_clean(typed))] or None
    elif name in ("employeeNumber", "department"):
        document.setdefault(ENTERPRISE, {})[name] = text
    elif "." in name:
        outer, _, inner = name.partition(".")
        document.setdefault(outer, {})[inner] = text
    else:
        document[name] = text


NOTICES: Final = {
    "linked": "The account is linked. Provisioning manages it once it has come through the link.",
    "released": "The account is managed here now, with its attributes as they were at that moment.",
    "renamed": "The account has its former sign-in name again.",
    "protected": "The account is protected: no run links it, and provisioning changes nothing of it.",
    "unprotected": "The protection is lifted: the next run may link the account.",
    "activated": "The person may sign in again.",
    "deactivated": "The person may not sign in any more. Let them in again whenever you like.",
    "deleted": "The account is deleted. Its history stays.",
    "edited": "The changes are stored.",
    "unchanged": "Nothing was changed: everything is as it was.",
}
DOES: Final = {
    "look": look,
    "release": release,
    "protect": protect,
    "switch": switch,
    "rename": rename,
    "delete": delete,
}

PAGES: Final = (
    Page("accounts/{id}", show, DOES, under="accounts", notices=NOTICES),
    Page("accounts/{id}/edit", show_form, {"edit": edit}, under="accounts"),
)
