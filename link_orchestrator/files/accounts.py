"""Existing accounts out of an exported file: which column is which attribute, and what a row must be to become one.

files/rows.py gives the rows; passes/import_accounts.py stores the accounts. Headers are recognised whatever their case,
order, spaces, dots and `[remarks]`, in these layouts: the generic one below, Atlassian (managed accounts, and the older
site export with a row for every group of a user), Okta, Google Workspace, and SCIM User documents as JSON.

| Column | Holds | Also known as |
|---|---|---|
| userName | the name to sign in with; the e-mail where there is no such column | username, login, user, UPN |
| email | the work address | mail, e-mail address, primary email |
| emailVerified | whether the application verified that address: yes or no, or the address | verified email |
| otherEmails | more addresses, separated by semicolons | secondary email, aliases |
| nameId | NameID of past SAML sign-ins | SAML NameID |
| objectId | the object-identifier claim of past sign-ins | oid, Entra object id |
| externalId, employeeNumber | the identifier of the client; of the personnel system | employee id |
| givenName, familyName, displayName | | first name, last name, surname, name, full name |
| active | no, disabled, deactivated, suspended, deprovisioned, … or yes, active, … (yes if empty) | status, enabled |
| protected | whether no run and no identity provider may ever touch it (no if empty) | break glass |
| title, department, division, organization, costCenter, userType, nickName, middleName | | job title, company |
| phone, mobilePhone, homePhone | | work phone, primary phone, mobile |
| streetAddress, city, state, postalCode, country | the work address | zip code, locality, region |
| preferredLanguage, locale, timezone | | language |

Whatever has no such name is not read, a password least of all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from link_orchestrator.files.cells import BETWEEN, Unusable, find_answer, plain, read_email, read_flag, read_text
from link_orchestrator.files.rows import Header, Row, UnreadableFile, read_rows
from link_orchestrator.problems import Problem
from shared.directory.records.model import ENTERPRISE, NO_EVIDENCE, SignInEvidence

USER = "urn:ietf:params:scim:schemas:core:2.0:User"


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account to import: the line it begins in, its SCIM User document, and what the application knows beside it."""

    line: int
    document: Mapping[str, Any]
    evidence: SignInEvidence = NO_EVIDENCE
    protected: bool = False

    @property
    def user_name(self) -> str:
        name: str = self.document["userName"]
        return name

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON types."""
        row: dict[str, Any] = {"line": self.line, "document": self.document}
        if self.evidence != NO_EVIDENCE:
            row["evidence"] = self.evidence.to_json()
        if self.protected:
            row["protected"] = True
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> AccountRow:
        """Return the row that `to_json` wrote."""
        evidence = SignInEvidence.from_json(row["evidence"]) if "evidence" in row else NO_EVIDENCE
        return cls(row["line"], row["document"], evidence, row.get("protected", False))


def read_accounts(
    chunks: Iterable[bytes], *, content_type: str = "", mapping: Mapping[str, str] | None = None
) -> Iterator[AccountRow | Problem]:
    """Yield the accounts of a file given as pieces of bytes, and a Problem for each row that cannot become one.

    `mapping` names, for headers that are not recognised, the column of the generic layout that they are; a header
    mapped to "" is not read. Raises, with the first row asked for, UnreadableFile if no row can be used or the mapping
    names an unknown column.
    """
    layouts = _Layouts(mapping or {})
    seen: set[bytes] = set()
    for row in read_rows(chunks, content_type=content_type):
        if isinstance(row, Problem):
            yield row
        elif isinstance(row, Header):
            layouts.check(row)
        else:
            cells = _flat(row.cells)
            try:
                account = _account(row.line, _Fields(cells, layouts.of(cells)))
            except Unusable as unusable:
                yield Problem(row.line, unusable.reason, unusable.remedy)
            else:
                if "group_name" not in cells or not _seen_before(row, seen):
                    yield account


def _seen_before(row: Row, seen: set[bytes]) -> bool:
    """Tell whether a row like this one, its group aside, came before: the site export has one for every group."""
    text = "\x1f".join(f"{name}\x1e{value}" for name, value in row.cells.items() if name != "group_name")
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    known = digest in seen
    seen.add(digest)
    return known


_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "externalId": ("", "externalId"),
    "displayName": ("", "displayName"),
    "nickName": ("", "nickName"),
    "title": ("", "title"),
    "userType": ("", "userType"),
    "preferredLanguage": ("", "preferredLanguage"),
    "locale": ("", "locale"),
    "timezone": ("", "timezone"),
    "givenName": ("name", "givenName"),
    "familyName": ("name", "familyName"),
    "middleName": ("name", "middleName"),
    "employeeNumber": (ENTERPRISE, "employeeNumber"),
    "department": (ENTERPRISE, "department"),
    "division": (ENTERPRISE, "division"),
    "organization": (ENTERPRISE, "organization"),
    "costCenter": (ENTERPRISE, "costCenter"),
}
"""Where a text stands in the document: in which object ("" for the document itself), under which name."""

_ADDRESS: Final = {
    "streetAddress": "streetAddress",
    "city": "locality",
    "state": "region",
    "postalCode": "postalCode",
    "country": "country",
}
_PHONES: Final = {"phone": "work", "mobilePhone": "mobile", "homePhone": "home"}

_ALSO_KNOWN_AS: Final[Mapping[str, str]] = {
    "userName": "login loginname user signinname userprincipalname upn",
    "email": "mail emailaddress primaryemail workemail",
    "emailVerified": "verifiedemail verifiedemails isemailverified",
    "otherEmails": "otheremail othermails secondemail secondaryemail worksecondaryemail homesecondaryemail aliases",
    "emails": "emailsvalue",
    "nameId": "samlnameid persistentnameid",
    "objectId": "oid objectidentifier azureobjectid aadobjectid entraobjectid",
    "externalId": "",
    "displayName": "name fullname",
    "givenName": "firstname namegivenname",
    "familyName": "lastname surname namefamilyname",
    "middleName": "namemiddlename",
    "employeeNumber": "employeeid personnelnumber",
    "active": "status enabled isactive accountenabled",
    "protected": "breakglass isprotected",
    "title": "jobtitle employeetitle",
    "userType": "employeetype",
    "organization": "company companyname",
    "phone": "workphone primaryphone telephonenumber phonenumber telephone",
    "mobilePhone": "mobile cellphone",
    "preferredLanguage": "language",
    "streetAddress": "street",
    "city": "locality",
    "state": "region",
    "postalCode": "zipcode zip postcode",
    "country": "countrycode",
}
_FIELDS: Final = (*_ALSO_KNOWN_AS, *_TEXTS, *_PHONES, "phoneNumbers", "addresses")
# A field's own name goes before its synonyms, and these in their order.
_RANKS: Final = {
    word: (field, rank)
    for field in dict.fromkeys(_FIELDS)
    for rank, word in enumerate([plain(field), *_ALSO_KNOWN_AS.get(field, "").split()])
}

_Layout = Mapping[str, tuple[str, ...]]
"""By field, the headers that hold it, the best one first."""


class _Layouts:
    """Which header holds which field, worked out once for each set of headers."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._mapping: dict[str, str] = {}
        for header, name in mapping.items():
            if name and plain(name) not in _RANKS:
                known = ", ".join(dict.fromkeys(_FIELDS))
                raise UnreadableFile(f"mapping: {header!r} is mapped to an unknown column. Known are: {known}")
            self._mapping[plain(header)] = _RANKS[plain(name)][0] if name else ""
        self._known: dict[tuple[str, ...], _Layout] = {}

    def check(self, header: Header) -> None:
        """Raise UnreadableFile if a CSV file has no column that could name an account."""
        if any("@" in name for name in header.names):
            raise UnreadableFile("The file has no header row: its first line holds values. Put the column names there.")
        missing = self._mapping.keys() - set(map(plain, header.names))
        if missing:
            raise UnreadableFile(
                f"The mapping names columns that the file does not have: {', '.join(sorted(missing))}."
            )
        layout = self.of(dict.fromkeys(header.names))
        if not layout.keys() & {"userName", "email", "emails"}:
            names = ", ".join(name[:40] for name in header.names[:30] if name)
            raise UnreadableFile(
                f"No column holds the user name. The header row has: {names}. Name one of them userName, or say which "
                'it is with the mapping option, as in {"Account": "userName"}.'
            )

    def of(self, cells: Mapping[str, Any]) -> _Layout:
        headers = tuple(cells)
        layout = self._known.get(headers)
        if layout is None:
            if len(self._known) > 1000:  # objects that each have other attributes
                self._known.clear()
            layout = self._known[headers] = self._resolve(headers)
        return layout

    def _resolve(self, headers: Iterable[str]) -> _Layout:
        ranked: dict[str, list[tuple[int, str]]] = {}
        for header in headers:
            word = plain(header)
            field, rank = _RANKS.get(word, ("", 0))
            if word in self._mapping:
                field, rank = self._mapping[word], -1
            if field:
                ranked.setdefault(field, []).append((rank, header))
        return {field: tuple(header for _, header in sorted(found)) for field, found in ranked.items()}


def _flat(cells: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a SCIM document with the attributes of `name` and of extensions beside the others; CSV as it is."""
    if not any(isinstance(value, dict) for value in cells.values()):
        return cells
    flat: dict[str, Any] = {}
    for name, value in cells.items():
        if not isinstance(value, dict):
            flat[name] = value
        elif name.lower() == "name" or ":" in name:
            flat |= value
    return flat


class _Fields:
    """The fields of one row, checked as they are asked for."""

    def __init__(self, cells: Mapping[str, Any], layout: _Layout) -> None:
        self._cells = cells
        self._layout = layout

    def find(self, field: str) -> tuple[str, Any]:
        """Return header and value of a field: of several columns the first that is not empty."""
        for header in self._layout.get(field, ()):
            value = self._cells[header]
            if value is not None and value != "":
                return header, value
        return field, None

    def text(self, field: str, *, compared: bool = False) -> str | None:
        if field not in self._layout:  # most are not, in most files
            return None
        header, value = self.find(field)
        return read_text(header, value, compared=compared)

    def flag(self, field: str, default: bool) -> bool:
        header, value = self.find(field)
        return read_flag(header, value, default=default)

    def listed(self, field: str) -> Iterator[tuple[str, Any]]:
        """Yield header and value of every element of a field, from all its columns."""
        for header in self._layout.get(field, ()):
            value = self._cells[header]
            if isinstance(value, str):
                yield from ((header, part) for part in BETWEEN.split(value) if part)
            elif isinstance(value, list):
                yield from ((header, part) for part in value if part)
            elif value is not None:
                yield header, value


def _account(line: int, fields: _Fields) -> AccountRow:
    emails = _emails(fields)
    user_name = fields.text("userName", compared=True) or (emails[0]["value"] if emails else None)
    if not user_name:
        raise Unusable("userName", "is empty, and there is no e-mail address to take instead", "Fill it in.")
    document: dict[str, Any] = {"schemas": [USER], "userName": user_name}
    for field, (parent, name) in _TEXTS.items():
        if value := fields.text(field, compared=name in ("externalId", "employeeNumber")):
            (document.setdefault(parent, {}) if parent else document)[name] = value
    if fields.text("active", compared=True):  # a file that is silent about it switches nobody on again
        document["active"] = fields.flag("active", True)
    multi_valued = {"emails": emails, "phoneNumbers": _phones(fields), "addresses": _addresses(fields)}
    document |= {name: elements for name, elements in multi_valued.items() if elements}
    if ENTERPRISE in document:
        document["schemas"].append(ENTERPRISE)
    evidence = SignInEvidence(
        fields.text("nameId", compared=True), fields.text("objectId", compared=True), _verified(fields, emails)
    )
    return AccountRow(line, document, evidence, fields.flag("protected", False))


def _emails(fields: _Fields) -> list[dict[str, Any]]:
    """Return the addresses, each once; the first is primary: the column of its own, or the one marked so."""
    header, value = fields.find("email")
    found: list[dict[str, Any]] = [] if value is None else [{"value": read_email(header, value), "type": "work"}]
    elements = [_element(header, part) for header, part in (*fields.listed("emails"), *fields.listed("otherEmails"))]
    for header, element in sorted(elements, key=lambda item: item[1].get("primary") is not True):
        kind = read_text(header, element.get("type"), compared=True) or ("other" if found else "work")
        found.append({"value": read_email(header, element.get("value")), "type": kind})
    once: dict[str, dict[str, Any]] = {}
    for item in found:
        once.setdefault(item["value"].casefold(), item)
    for first in islice(once.values(), 1):
        first["primary"] = True
    return list(once.values())


def _element(header: str, part: object) -> tuple[str, Mapping[str, Any]]:
    return header, part if isinstance(part, dict) else {"value": part}


def _verified(fields: _Fields, emails: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the verified addresses: named ones, or the account's own where the column says yes."""
    verified: list[str] = []
    for header, part in fields.listed("emailVerified"):
        text = read_text(header, part, compared=True) or ""
        answer = find_answer(text)
        if answer is None:
            verified.append(read_email(header, text))
        elif answer and emails:
            verified.append(emails[0]["value"])
    return tuple(dict.fromkeys(verified))


def _phones(fields: _Fields) -> list[dict[str, Any]]:
    found = [{"value": value, "type": kind} for field, kind in _PHONES.items() if (value := fields.text(field))]
    for header, part in fields.listed("phoneNumbers"):
        element = _element(header, part)[1]
        if value := read_text(header, element.get("value")):
            found.append({"value": value, "type": read_text(header, element.get("type")) or "other"})
    return found


def _addresses(fields: _Fields) -> list[dict[str, Any]]:
    work = {name: value for field, name in _ADDRESS.items() if (value := fields.text(field))}
    found = [work | {"type": "work"}] if work else []
    for header, part in fields.listed("addresses"):
        element = _element(header, part)[1]
        names = ("formatted", *_ADDRESS.values(), "type")
        if address := {name: value for name in names if (value := read_text(header, element.get(name)))}:
            found.append(address)
    return found
