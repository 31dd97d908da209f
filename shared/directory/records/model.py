"""Accounts and groups as the directory keeps them, and their columns in a row.

The document of an account or a group is its SCIM resource as JSON text without `meta`, stored as it is served. What the
application knows beyond SCIM (sign-in evidence, protection, the link) has columns of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, ClassVar, Self

from shared.directory.errors import NobodysId, Unfit
from shared.directory.keys import (
    APPLICATION_ID,
    LIVE,
    RETIRED,
    Key,
    application_key,
    fold,
    folded,
    in_small_letters,
    same_letters,
)
from shared.directory.object_ids import compared_id, forms_of, is_nil
from shared.directory.text import join_text, split_text, unfit, weak_tag
from shared.json_text import dump, load
from shared.tables.port import Row, Value

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

EVIDENCE = "evidence"
"""Name under which the history and what is kept for an undo have the evidence."""

FORMER_USER_NAME = "formerUserName"
"""Kind of the keys by which a list finds an account that has another userName by now. No rule matches by them."""
FORMER_NAMES = 3
"""Former userNames by which an account is found: each is a pointer that every later change has to keep."""

SWITCHED_OFF = ',"active":false'
"""What the document of somebody who may not come in has. In every other there is room for it, so that whoever was taken
can be switched off."""

DIGEST_OF_FACTS = "facts"
"""Column with the digest of an account's facts: by it alone a linking run sees whether any of them changed."""


class Status(StrEnum):
    """Where an account or a group comes from: made and managed here, made here and linked, or made by provisioning."""

    LOCAL = "local"
    CLAIMED = "claimed"
    PROVISIONED = "provisioned"


class Authority(StrEnum):
    """Who may change an account's managed attributes."""

    LOCAL = "local"
    IDP = "idp"


@dataclass(frozen=True, slots=True)
class SignInEvidence:
    """What the application knows of a person's sign-ins in the past; never shown over SCIM."""

    name_id: str | None = None
    object_id: str | None = None
    verified_emails: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        known = {"nameId": self.name_id, "objectId": self.object_id, "verifiedEmails": list(self.verified_emails)}
        return {name: value for name, value in known.items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SignInEvidence:
        return cls(data.get("nameId"), data.get("objectId"), tuple(data.get("verifiedEmails", ())))


NO_EVIDENCE = SignInEvidence()


@dataclass(frozen=True, slots=True)
class Link:
    """That an account and an identity are the same person: by which match rule, when, by whom.

    `confirmed` is when provisioning first used the stamped externalId, or None. `reason` is what the administrator said
    who linked by hand.
    """

    identity: str
    rule: str
    at: str
    by: str
    confirmed: str | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        known = {
            "identity": self.identity,
            "rule": self.rule,
            "at": self.at,
            "by": self.by,
            "confirmed": self.confirmed,
        }
        return known | ({"reason": self.reason} if self.reason else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Link:
        get = data.get
        return cls(data["identity"], data["rule"], data["at"], data["by"], get("confirmed"), get("reason"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What accounts and groups share; resources.py stores it.

    `text` is the SCIM document; `etag` is the store's version of the row, "" before the first write. `changes` is the
    number of changes so far, its creation included: 0 until one is made of a resource of an earlier version.
    """

    audited: ClassVar[Mapping[str, str]] = {}
    """Fields that the history watches beside the document, by the names that it has for them."""

    id: str
    text: str
    status: Status
    created: str
    modified: str
    external_id: str | None = None
    changes: int = field(default=0, compare=False)
    etag: str = field(default="", compare=False)

    @property
    def version(self) -> str:
        """The weak entity tag that clients see."""
        return weak_tag(self.etag)

    @property
    def key(self) -> str:
        return LIVE + self.id

    @property
    def name(self) -> Key:
        """The key that no other resource of its type may hold from its creation on."""
        raise NotImplementedError

    def document(self) -> dict[str, Any]:
        """Return a fresh copy of the SCIM document."""
        document: dict[str, Any] = load(self.text)
        return document

    def with_document(self, document: Mapping[str, Any], **changes: Any) -> Self:
        """Return the resource with another document, the values it is found by taken from there, and other changes."""
        return replace(self, **self.values_of(self.id, document), **changes)

    @classmethod
    def new(cls, resource_id: str, document: Mapping[str, Any], status: Status, now: str, **beside: Any) -> Self:
        """Return a resource that is not stored yet, with what it has beside its document."""
        values = cls.values_of(resource_id, document)
        return cls(id=resource_id, status=status, created=now, modified=now, changes=1, **values, **beside)

    @staticmethod
    def values_of(resource_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the text of a document as it is served, and the values by which a resource with it is found."""
        served = {"schemas": [], "id": ""} | dict(document) | {"id": resource_id}
        return {"text": dump(served), "external_id": document.get("externalId")}

    def told_by(self) -> Iterator[tuple[str, str | None]]:
        """Yield the attributes by which people and clients tell resources apart, with their values."""
        yield self.name
        yield "externalId", self.external_id

    def refuse_unfit(self, before: Resource | None = None) -> None:
        """Raise Unfit for what tells resources apart and cannot be so (text.py), NobodysId for the nil GUID.

        What was there `before` is let be.
        """
        known = set(before.told_by()) if before else set()
        for name, value in self.told_by():
            if value and (name, value) not in known and (why := unfit(value, emoji=name == "displayName")):
                raise Unfit(f"{name}: {why}")
            if value and name == "externalId" and (name, value) not in known and is_nil(value):
                raise NobodysId(f"externalId: {value} stands for no id, and is nobody's: leave it out")

    def claims(self) -> frozenset[Key]:
        """Return the keys that no other resource of its type may hold."""
        return frozenset((folded(self.name),))

    def held(self) -> frozenset[Key]:
        """Return the keys whose claim may lead here: at least those of claims()."""
        return self.claims()

    def found_by(self) -> frozenset[Key]:
        """Return the keys by which the resource can be found beside its claims."""
        return frozenset((Key("externalId", fold(self.external_id)),)) if self.external_id else frozenset()

    def pointers(self) -> frozenset[Key]:
        """Return the keys that need a pointer."""
        return self.found_by()

    def in_doubt(self) -> frozenset[Key]:
        """Return the keys whose pointer may be missing, because an earlier version of the app wrote none."""
        return frozenset()

    def pointers_since(self, before: Resource) -> frozenset[Key]:
        """Return the keys of which a change has to write the pointer, as `before` it there may be none."""
        return self.pointers() - (before.pointers() - before.in_doubt())

    def columns(self) -> dict[str, Value | None]:
        """Return the row's columns."""
        columns: dict[str, Value | None] = {
            "status": self.status.value,
            "created": self.created,
            "modified": self.modified,
            "externalId": self.external_id,
            "changes": self.changes or None,
        }
        spare = 0 if SWITCHED_OFF in self.text else len(SWITCHED_OFF)
        return columns | split_text("document", self.text, spare)

    @staticmethod
    def fields_of(row: Row) -> dict[str, Any]:
        """Return the fields of a row's resource; without the document if the query left its column out."""
        columns: Mapping[str, Any] = row.columns
        return {
            "id": row.key[len(LIVE) :],
            "text": join_text("document", columns),
            "status": Status(columns["status"]),
            "created": columns["created"],
            "modified": columns["modified"],
            "external_id": columns.get("externalId"),
            "changes": columns.get("changes", 0),
            "etag": row.etag,
        }

    def link_state(self) -> dict[str, Any]:
        """Return what the history keeps of a change, so that a run can be undone."""
        return {}

    def beside_document(self) -> dict[str, Any]:
        """Return what provisioning may change beside the document and the link, by the name under which it is kept."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account(Resource):
    """One account.

    `retired` says that SCIM deleted it while the application keeps it. `origin` names the import that made it, and
    `imported` the last one that changed it.
    `parted` has the object ids, in small letters, of identities that an undo or a release took it apart from: only a
    person joins such a pair again. `retired_as` is the digest (digest_kept) of what a DELETE over SCIM left of the
    account. `digest` is that of its facts as its row has it, "" for none: another version of the app may have written
    it.

    `former_names` are its last userNames before this one, the latest last: lists find it by them, no rule matches.

    `application_id` is the key that the application itself has for the account. It is the application's alone: no other
    account may have it, SCIM neither shows nor changes it, and it is no evidence of whose the account is. So it is
    neither in the document nor among the facts.
    """

    audited: ClassVar[Mapping[str, str]] = {
        **{name: name for name in ("status", "protected", "evidence", "link", "retired", "parted")},
        APPLICATION_ID: "application_id",
    }

    user_name: str
    emails: tuple[str, ...] = ()
    employee_number: str | None = None
    active: bool = True
    protected: bool = False
    application_id: str | None = None
    evidence: SignInEvidence = NO_EVIDENCE
    link: Link | None = None
    retired: bool = False
    parted: tuple[str, ...] = ()
    former_names: tuple[str, ...] = ()
    origin: str | None = None
    imported: str | None = None
    retired_as: str | None = None
    digest: str = field(default="", compare=False)

    @property
    def authority(self) -> Authority:
        return Authority.LOCAL if self.status is Status.LOCAL else Authority.IDP

    @property
    def name(self) -> Key:
        return Key("userName", self.user_name)

    @property
    def key(self) -> str:
        return (RETIRED if self.retired else LIVE) + self.id

    @staticmethod
    def values_of(resource_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the text of a document as it is served, and the values by which an account with it is found.

        Whoever makes an account and does not say whether it is active makes an active one.
        """
        document = _saying_active(document, True)
        extension = document.get(ENTERPRISE) or {}
        return Resource.values_of(resource_id, document) | {
            "user_name": document["userName"],
            "emails": tuple(email["value"] for email in document.get("emails", ()) if email.get("value")),
            "employee_number": extension.get("employeeNumber"),
            "active": document["active"],
        }

    def with_document(self, document: Mapping[str, Any], **changes: Any) -> Self:
        """Return the account as Resource does; whether it is active stays where the document does not say."""
        after = Resource.with_document(self, _saying_active(document, self.active), **changes)
        return after if after.user_name == self.user_name else replace(after, former_names=self._names_before(after))

    def _names_before(self, after: Account) -> tuple[str, ...]:
        """Return the former names of the account once it has the name of another state of it."""
        now = fold(after.user_name)
        names = {fold(name): name for name in (*self.former_names, self.user_name) if fold(name) != now}
        return tuple(names.values())[-FORMER_NAMES:]

    def with_external_id(self, external_id: str, **changes: Any) -> Account:
        """Return the account with another externalId, nothing else of its document touched, and other changes."""
        if self.external_id is not None or '"externalId"' in self.text:
            return self.with_document(self.document() | {"externalId": external_id}, **changes)
        # Adding to the text takes a tenth of the time of parsing the document and writing it anew.
        text = f'{self.text[:-1]},"externalId":{dump(external_id)}}}'
        return replace(self, text=text, external_id=external_id, **changes)

    def shown(self) -> dict[str, str]:
        """Return how reports and lists name the account."""
        return name_account(self.id, self.user_name, self.application_id)

    def told_by(self) -> Iterator[tuple[str, str | None]]:
        """Yield the attributes by which people and clients tell accounts apart, with their values."""
        yield from Resource.told_by(self)
        yield from (("emails", email) for email in self.emails)
        yield from (("evidence.verifiedEmails", email) for email in self.evidence.verified_emails)
        yield APPLICATION_ID, self.application_id

    def parted_from(self, identity: str) -> tuple[str, ...]:
        """Return what `parted` is once the account was taken apart from an identity."""
        return (*self.joined_with(identity), in_small_letters(identity))

    def joined_with(self, identity: str) -> tuple[str, ...]:
        """Return what `parted` is once a person joined the account with an identity."""
        return tuple(one for one in self.parted if not same_letters(one, identity))

    def claims(self) -> frozenset[Key]:
        """Return the keys that no other account may hold."""
        keys = [Key("userName", fold(self.user_name))]
        if self.link:
            keys.append(Key("identity", fold(self.link.identity)))
        if self.application_id:
            keys.append(application_key(self.application_id))
        return frozenset(keys)

    def held(self) -> frozenset[Key]:
        """Return the keys whose claim may lead here: the first account with an externalId claims that identity."""
        return self.claims() | {Key("identity", form) for form in forms_of(self.external_id or "") if form}

    def found_by(self) -> frozenset[Key]:
        """Return the keys by which the account can be found beside its claims.

        Whom it was taken apart from finds it, whatever had joined them: nothing else may, and a create would give that
        person a second account.
        """
        keys = [Key("email", fold(email)) for email in (*self.emails, *self.evidence.verified_emails)]
        if self.employee_number:
            keys.append(Key("employeeNumber", fold(self.employee_number)))
        keys += [Key("objectId", form) for identity in self.parted for form in forms_of(identity)]
        return frozenset((*keys, *(Key(id.kind, form) for id in self._ids() for form in forms_of(id.value))))

    def _ids(self) -> Iterator[Key]:
        """Yield the ids that may be object ids of Entra, as they are stored."""
        evidence = self.evidence
        ids = {"externalId": self.external_id, "nameId": evidence.name_id, "objectId": evidence.object_id}
        yield from (Key(kind, value) for kind, value in ids.items() if value)

    def pointers(self) -> frozenset[Key]:
        """Return the keys that need a pointer: an e-mail that equals the userName is found by the name claim."""
        former = {Key(FORMER_USER_NAME, fold(name)) for name in self.former_names}
        return self.found_by() - {Key("email", fold(self.user_name))} | former

    def in_doubt(self) -> frozenset[Key]:
        """Return the object ids that are stored in another form: earlier versions found them by that form alone."""
        ids = (Key(id.kind, compared_id(id.value)) for id in self._ids() if compared_id(id.value) != fold(id.value))
        return frozenset(ids)

    def facts(self) -> Facts:
        """Return what matching asks of the account."""
        return (
            self.user_name,
            self.external_id,
            self.emails,
            self.evidence.verified_emails,
            self.evidence.name_id,
            self.evidence.object_id,
            self.employee_number,
            self.protected,
            self.active,
            self.status,
            self.link.identity if self.link else None,
            self.retired,
            self.parted,
        )

    def link_state(self) -> dict[str, Any]:
        """Return what the history keeps of a change, so that a run can be undone."""
        return {
            "status": self.status.value,
            "externalId": self.external_id,
            "userName": self.user_name,
            "link": self.link.to_json() if self.link else None,
            **({"retired": True} if self.retired else {}),
        }

    def beside_document(self) -> dict[str, Any]:
        """Return what provisioning may change beside the document and the link, by the name under which it is kept."""
        return {EVIDENCE: self.evidence.to_json()}

    def beside_import(self) -> dict[str, Any]:
        """Return what an import may change beside the document, by the name under which it is kept."""
        return self.beside_document() | {"protected": self.protected, APPLICATION_ID: self.application_id}

    def columns(self) -> dict[str, Value | None]:
        """Return the row's columns."""
        return Resource.columns(self) | {
            "userName": self.user_name,
            "emails": dump(list(self.emails)) if self.emails else None,
            "employeeNumber": self.employee_number,
            "active": self.active,
            "protected": self.protected or None,
            APPLICATION_ID: self.application_id,
            "evidence": dump(self.evidence.to_json()) if self.evidence != NO_EVIDENCE else None,
            "link": dump(self.link.to_json()) if self.link else None,
            "parted": dump(list(self.parted)) if self.parted else None,
            "formerNames": dump(list(self.former_names)) if self.former_names else None,
            "origin": self.origin,
            "imported": self.imported,
            "retiredAs": self.retired_as,
            DIGEST_OF_FACTS: digest_facts(self.facts()),
        }

    @classmethod
    def from_row(cls, row: Row) -> Account:
        """Return the account of a row."""
        columns: Mapping[str, Any] = row.columns
        emails, evidence, link = columns.get("emails"), columns.get("evidence"), columns.get("link")
        parted, former = columns.get("parted"), columns.get("formerNames")
        fields = cls.fields_of(row)
        if fields["text"] and '"active":' not in fields["text"]:
            # Stored by an earlier version of the app, which did not say it of every account.
            fields["text"] = f'{fields["text"][:-1]},"active":{dump(columns["active"])}}}'
        return cls(
            **fields,
            user_name=columns["userName"],
            emails=tuple(load(emails)) if emails else (),
            employee_number=columns.get("employeeNumber"),
            active=columns["active"],
            protected=columns.get("protected", False),
            application_id=columns.get(APPLICATION_ID),
            evidence=SignInEvidence.from_json(load(evidence)) if evidence else NO_EVIDENCE,
            link=Link.from_json(load(link)) if link else None,
            retired=row.key.startswith(RETIRED),
            parted=tuple(load(parted)) if parted else (),
            former_names=tuple(load(former)) if former else (),
            origin=columns.get("origin"),
            imported=columns.get("imported"),
            retired_as=columns.get("retiredAs"),
            digest=columns.get(DIGEST_OF_FACTS, ""),
        )


def _saying_active(document: Mapping[str, Any], active: bool) -> Mapping[str, Any]:
    return document if "active" in document else {**document, "active": active}


FACTS = (
    "userName", "status", "created", "modified", "externalId", "emails", "employeeNumber", "active", "protected",
    "evidence", "link", "parted", "formerNames", APPLICATION_ID, DIGEST_OF_FACTS,
)  # fmt: skip
"""Columns that linking reads: all but the document."""


def name_account(account_id: str, user_name: str, application_id: str | None) -> dict[str, str]:
    """Return how plans, reports and lists name an account: by our id, by its name, by the application's own key."""
    named = {"id": account_id, "userName": user_name}
    return named | ({APPLICATION_ID: application_id} if application_id else {})


Text = str | None
Facts = tuple[
    str, Text, tuple[str, ...], tuple[str, ...], Text, Text, Text, bool, bool, Status, Text, bool, tuple[str, ...]
]  # fmt: skip
"""What matching asks of an account beside its id and version, in the order of matching.AccountFacts."""


def digest_facts(facts: Facts) -> str:
    """Return 16 hex digits that are equal for equal facts.

    Nobody's being parted is left out, so that versions of the app which know nothing of it come to the same digits.
    """
    known = [fact.value if isinstance(fact, Status) else fact for fact in (facts if facts[-1] else facts[:-1])]
    return hashlib.blake2b(dump(known).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def digest_kept(account: Account) -> str:
    """Return 16 hex digits that change with whatever an edit here changes of an account that SCIM deleted."""
    known = dump([account.text, account.evidence.to_json()])
    return hashlib.blake2b(known.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """The version of a group's members, and when they last changed. Both are "" where there is none.

    `linking` is the version before, where a link of the group has begun and no member moved since; otherwise "".
    """

    etag: str = ""
    modified: str = ""
    linking: str = ""

    @classmethod
    def from_row(cls, row: Row | None) -> Head:
        """Return the head of a row."""
        if row is None:
            return NO_HEAD
        return cls(row.etag, str(row.columns["modified"]), str(row.columns.get("linking", "")))


NO_HEAD = Head()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Resource):
    """One group, without its members. `head` is None where it was not read: such a group has no version.

    `retired` says that SCIM deleted it while the application keeps it. `left` is the externalId under which it was
    linked then, until somebody edits the group here: the same group of the identity provider may come back to it.
    """

    audited: ClassVar[Mapping[str, str]] = {"status": "status", "retired": "retired"}

    display_name: str
    retired: bool = False
    left: str | None = None
    head: Head | None = field(default=None, compare=False)

    @property
    def version(self) -> str:
        """The weak entity tag of the group with its members. Raises ValueError where the head was not read."""
        if self.head is None:
            raise ValueError("the version of a group needs its head")
        return weak_tag(f"{self.etag}\n{self.head.etag}")

    @property
    def version_before_link(self) -> str:
        """The version that the group had before a link of it began, if it is still that one otherwise; or ""."""
        return weak_tag(f"{self.etag}\n{self.head.linking}") if self.head and self.head.linking else ""

    def with_head(self, head: Head) -> Group:
        """Return the group with the head of its members; it was modified when either of the two was."""
        return replace(self, head=head, modified=max(self.modified, head.modified))

    @property
    def name(self) -> Key:
        return Key("displayName", self.display_name)

    @property
    def key(self) -> str:
        return (RETIRED if self.retired else LIVE) + self.id

    def found_by(self) -> frozenset[Key]:
        """Return the keys by which the group can be found beside its name."""
        return frozenset(Key("externalId", fold(value)) for value in (self.external_id, self.left) if value)

    def shown(self) -> dict[str, str]:
        """Return how lists name the group."""
        return {"id": self.id, "displayName": self.display_name}

    def with_link_state(self, before: Mapping[str, Any], *, keep: bool) -> Group:
        """Return the group with a link state that the history kept; with `keep` under the name that it has now.

        Where an earlier version of the app kept the state, no name is in it.
        """
        document = self.document()
        document.pop("externalId", None)
        if before["externalId"]:
            document["externalId"] = before["externalId"]
        if not keep and before.get("displayName"):
            document["displayName"] = before["displayName"]
        status, get = Status(before["status"]), before.get
        return self.with_document(document, status=status, retired=get("retired", False), left=get("left"))

    @staticmethod
    def values_of(resource_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the text of a document as it is served, and the values by which a group with it is found."""
        return Resource.values_of(resource_id, document) | {"display_name": document["displayName"]}

    def link_state(self) -> dict[str, Any]:
        """Return what the history keeps of a change, so that a run can be undone."""
        return {
            "status": self.status.value,
            "externalId": self.external_id,
            "displayName": self.display_name,
            **({"retired": True} if self.retired else {}),
            **({"left": self.left} if self.left else {}),
        }

    def columns(self) -> dict[str, Value | None]:
        """Return the row's columns."""
        return Resource.columns(self) | {"displayName": self.display_name, "left": self.left}

    @classmethod
    def from_row(cls, row: Row) -> Group:
        """Return the group of a row."""
        columns: Mapping[str, Any] = row.columns
        return cls(
            **cls.fields_of(row),
            display_name=columns["displayName"],
            retired=row.key.startswith(RETIRED),
            left=columns.get("left"),
        )
