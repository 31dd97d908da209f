"""Existing accounts from an exported file: which column is which attribute, and what a row must hold to be an account.

files/formats.py reads the rows, passes/import_accounts.py stores the accounts. Headers are recognised whatever their
case, order, spaces, dots and `[remarks]`: in the layouts of products (layouts.py), and in the generic one below.

| Column | Holds | Also known as |
|---|---|---|
| userName | the name to sign in with; the e-mail where there is no such column | username, login, user, UPN |
| email | the work address | mail, e-mail address, primary email |
| emailVerified | whether the application verified that address: yes or no, or the address | verified email |
| otherEmails | more addresses, separated by semicolons | secondary email, aliases |
| applicationId | the key that the application itself has for the account; no other account may have it | |
| nameId | NameID of past SAML sign-ins | SAML NameID |
| objectId | the object-identifier claim of past sign-ins | oid, Entra object id |
| externalId, employeeNumber | the identifier of the client; of the personnel system | employee id |
| givenName, familyName, displayName | | first name, last name, surname, name, full name |
| active | no, disabled, deactivated, suspended, deprovisioned, … or yes, active, … (yes if empty) | status, enabled |
| inactive | the same the other way round | suspended, disabled, blocked |
| protected | whether no run and no identity provider may ever touch it (no if empty) | break glass |
| title, department, division, organization, costCenter, userType, nickName, middleName | | job title, company |
| phone, mobilePhone, homePhone | | work phone, primary phone, mobile |
| streetAddress, city, state, postalCode, country | the work address | zip code, locality, region |
| preferredLanguage, locale, timezone | | language |

A column of any other name is not read, a password least of all.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from link_orchestrator.files.cells import (
    BETWEEN,
    Unusable,
    find_answer,
    find_state,
    find_verified,
    printable,
    read_email,
    read_flag,
    read_shown,
    read_text,
)
from link_orchestrator.files.columns import Columns, Layout, Needed, check_named, ranks
from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.layouts import ACCOUNTS, ADDRESSES, BULK_REMEDY, SIGN_IN_NAMES, Product, is_bulk
from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import MAX_FIELD_CHARS, Header, Row, UnreadableFile
from link_orchestrator.files.suspicious import Suspicion
from link_orchestrator.files.wrong_file import Door, Doorkeeper
from link_orchestrator.problems import Problem
from shared.directory.keys import APPLICATION_ID, in_small_letters
from shared.directory.object_ids import NO_OBJECT_ID, is_nil, read_object_id
from shared.directory.records.model import ENTERPRISE, NO_EVIDENCE, SignInEvidence
from shared.directory.text import MAX_NAME_CHARS, is_address, unfit_to_show
from shared.json_text import dump

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
MAX_APPLICATION_ID: Final = 256
"""Characters that an applicationId may have at most."""
MAX_NAME: Final = 1_000
"""Characters that are kept of the name in a row that cannot be used."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account to import: the line it begins in, its SCIM User document, and what the application knows beside it."""

    line: int
    document: Mapping[str, Any]
    evidence: SignInEvidence = NO_EVIDENCE
    protected: bool = False
    application_id: str | None = None

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
        if self.application_id:
            row[APPLICATION_ID] = self.application_id
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> AccountRow:
        """Return the row that `to_json` wrote."""
        evidence = SignInEvidence.from_json(row["evidence"]) if "evidence" in row else NO_EVIDENCE
        own = row.get(APPLICATION_ID)
        return cls(row["line"], row["document"], evidence, row.get("protected", False), own)


def read_accounts(
    file: bytes, *, content_type: str = "", columns: Mapping[str, str] | None = None, notes: Notes | None = None
) -> Iterator[AccountRow | Problem]:
    """Yield the accounts of a file, and a Problem for each row that is not usable as one.

    `columns` names, for headers that are not recognised, the column of the generic layout that each is; a header that
    is mapped to "" is not read. `notes` is told what is read. Raises UnreadableFile, when the first row is asked for,
    if no row can be used or `columns` names an unknown column.
    """
    notes = notes or Notes()
    return notes.watch(_read(file, content_type, columns or {}, notes))


def _read(file: bytes, content_type: str, columns: Mapping[str, str], notes: Notes) -> Iterator[AccountRow | Problem]:
    found = Columns(_RANKS, check_named(columns, COLUMNS), ACCOUNTS)
    seen, owners, keeper = set[bytes](), _Owners(), Doorkeeper(Door.ACCOUNTS, columns)
    rows = read_rows(file, content_type=content_type, notes=notes)
    for row in rows:
        keeper.look(row)
        if isinstance(row, Problem):
            yield row
        elif isinstance(row, Header):
            _check(row, found, rows)
        else:
            cells = _flat(row.cells)
            layout, product = found.look(cells)
            notes.look(row.line, cells, layout)
            notes.layout = notes.layout or (product.name if product else "")
            row_cells = _Cells(cells, layout, product)
            try:
                account = _account(row.line, row_cells)
                _refuse_display_name(cells, layout, found)
                owners.check(account)
            except Unusable as unusable:
                told = _explain(cells, found, notes) or (unusable.reason, unusable.remedy)
                yield Problem(row.line, *told, row_cells.own_key(), row_cells.names())
            else:
                if layout.get("userName") and row_cells.text("userName") is None:
                    notes.suspect(Suspicion.NO_NAME, row.line, layout["userName"][0])
                if product is None or not product.repeats or not _seen_before(account, seen):
                    yield account
                else:
                    notes.repeated()


def _explain(cells: Mapping[str, Any], found: Columns, notes: Notes) -> tuple[str, str] | None:
    """Return that no attribute of JSON is known that there must be, and the remedy; None where that is not so.

    Of the first row alone, for it is as long as the names of all attributes. The header of a table was checked before.
    """
    if notes.anything() or any("@" in name for name in cells):
        return None
    lacking = found.lacking([*cells], _NAME)
    return (lacking.what, lacking.remedy) if lacking else None


def _refuse_display_name(cells: Mapping[str, Any], layout: Layout, found: Columns) -> None:
    """Raise Unusable for a userName that may be a display name, under a header by which products call either."""
    header = layout.get("userName", ("",))[0]
    value = cells.get(header)
    name = value.strip() if isinstance(value, str) else ""
    if " " in name and "@" not in name and header.strip().casefold() in _EITHER_NAME and not found.is_named(header):
        raise Unusable(
            header,
            "holds a name with a space, which may be the one to show and not the one to sign in with",
            WHICH_NAME,
        )


WHICH_NAME: Final = "Say by columns which of the two the column is: displayName or userName."
"""What to do about a column that may be either. Pages and `make plan` have other ways to say it."""
_EITHER_NAME: Final = ("user name", "user", "user_name", "user-name", "benutzername")


class _Owners:
    """The userName that each applicationId of a file came with first. An account costs about 130 bytes."""

    def __init__(self) -> None:
        self._first: dict[int, int] = {}

    def check(self, row: AccountRow) -> None:
        """Raise Unusable if an earlier row has the same applicationId, and another userName."""
        if row.application_id is None:
            return
        own, name = _digest(row.application_id), _digest(in_small_letters(row.user_name))
        first = self._first.setdefault(own, row.line << 64 | name)
        if first & (1 << 64) - 1 != name:
            line = first >> 64
            reason = f"{APPLICATION_ID}: line {line} has the same one, and another userName; line {line} was taken"
            raise Unusable.because(reason, "Keep the row that is right, and import the file again.")


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _seen_before(row: AccountRow, seen: set[bytes]) -> bool:
    """Tell whether the same account came before: some exports have a row for every group of a user."""
    text = dump(row.to_json() | {"line": 0})
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
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
"""Where the text of a column goes in the document: into which object ("" for the document itself), by which name."""

_ADDRESS: Final = {
    "streetAddress": "streetAddress",
    "city": "locality",
    "state": "region",
    "postalCode": "postalCode",
    "country": "country",
}
_PHONES: Final = {"phone": "work", "mobilePhone": "mobile", "homePhone": "home"}

_ALSO_KNOWN_AS: Final[Mapping[str, str]] = {
    "userName": SIGN_IN_NAMES,
    "email": ADDRESSES,
    "emailVerified": "verifiedemail verifiedemails isemailverified",
    "otherEmails": "otheremail othermails secondemail secondaryemail worksecondaryemail homesecondaryemail aliases",
    "emails": "emailsvalue",
    "applicationId": "applicationkey",
    "nameId": "samlnameid persistentnameid",
    "objectId": "oid objectidentifier azureobjectid aadobjectid entraobjectid",
    "externalId": "",
    "displayName": "name fullname anzeigename",
    "givenName": "firstname namegivenname vorname",
    "familyName": "lastname surname namefamilyname nachname",
    "middleName": "namemiddlename",
    "employeeNumber": "employeeid personnelnumber personalnummer",
    "active": "status enabled isactive accountenabled aktiv actif activo attivo",
    "inactive": "suspended disabled deactivated blocked issuspended isdisabled isblocked gesperrt",
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
COLUMNS: Final = tuple(dict.fromkeys((*_ALSO_KNOWN_AS, *_TEXTS, *_PHONES, "phoneNumbers", "addresses")))
"""The columns that a header may be read as."""
_RANKS: Final = ranks(COLUMNS, _ALSO_KNOWN_AS)


def _check(header: Header, columns: Columns, rows: Iterable[Row | Header | Problem]) -> None:
    """Raise UnreadableFile for a header that says too little. `rows`, which follow, say which column it may be."""
    if any("@" in name for name in header.names):
        raise UnreadableFile("The file has no header row: its first line holds values. Put the column names there.")
    if is_bulk(header.names):
        raise UnreadableFile(BULK_REMEDY)
    try:
        columns.check(header, _NAME)
    except UnreadableFile:
        columns.check(header, replace(_NAME, held_in=_names_in(islice(rows, LOOKED_AT))))
        raise


def _names_in(rows: Iterable[Row | Header | Problem]) -> list[str]:
    """Return the headers under which every value looks like an address, or else like a sign-in name."""
    values: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        for header, value in row.cells.items() if isinstance(row, Row) else ():
            if isinstance(value, str) and value.strip():
                values[header].append(value.strip())
    for looks in (is_address, _LOGIN.fullmatch):
        found = [name for name, held in values.items() if all(map(looks, held)) and len({*held}) == len(held)]
        if found:
            return found
    return []


LOOKED_AT: Final = 50
"""Rows of a file that are looked at for the column that holds names."""
_LOGIN: Final = re.compile(r"[a-z][a-z0-9]*([._-][a-z0-9]+)+|[a-z]+[0-9]+")
"""A sign-in name that nobody takes for a word: with a mark or a number in it."""
_NAME: Final = Needed(
    ("userName", "emails", "email"),
    "the user name or the e-mail address",
    ("mail", "upn", "login", "username", "user", "account", "konto", "benutzer", "kennung", "name", "id"),
)


def _flat(cells: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return JSON with the attributes of `name` and of extensions among its own, and those of other objects as a.b.

    So does a list of one object whose values layouts name. Return CSV as it is.
    """
    if not any(isinstance(value, dict | list) for value in cells.values()):
        return cells
    flat: dict[str, Any] = {}
    for name, value in cells.items():
        inner = value[0] if isinstance(value, list) and len(value) == 1 and name == "ExternalIds" else value
        if not isinstance(inner, dict):
            flat[name] = value
        elif ":" in name or (name.lower() == "name" and "fullName" not in inner):
            flat |= inner
        else:
            flat |= {f"{name}.{key}": one for key, one in inner.items()}
    return flat


class _Cells:
    """The cells of one row by column, checked as they are asked for."""

    def __init__(self, cells: Mapping[str, Any], layout: Layout, product: Product | None = None) -> None:
        self._cells = cells
        self._layout = layout
        self._product = product

    def find(self, column: str) -> tuple[str, Any]:
        """Return header and value of a column: of several headers that hold it, the first that is not empty."""
        for header in self._layout.get(column, ()):
            value = self._cells[header]
            if value is not None and value != "":
                return header, value
        return column, None

    def text(self, column: str, *, compared: bool = False, most: int = MAX_FIELD_CHARS) -> str | None:
        if column not in self._layout:  # most are not, in most files
            return None
        header, value = self.find(column)
        return read_text(header, value, compared=compared, most=most)

    def shown(self, column: str, *, most: int = MAX_NAME_CHARS) -> str | None:
        """Return a text by which accounts are told apart."""
        header, value = self.find(column)
        return read_shown(header, value, most=most)

    def own_key(self) -> str:
        """Return the applicationId as far as it can be written out, "" for none: of a row that cannot be used, too."""
        value = self.find(APPLICATION_ID)[1]
        return printable(str(value).strip()[:MAX_APPLICATION_ID]) if isinstance(value, str | int) else ""

    def names(self) -> tuple[str, ...]:
        """Return the name by which the account of a row would be found that cannot be used, none for no such name.

        What has a space may be the name of the person: then it is the address.
        """
        found = [self.find(column)[1] for column in ("userName", "email")]
        texts = [value.strip()[:MAX_NAME] for value in found if isinstance(value, str)]
        return tuple(text for text in texts if text and " " not in text)[:1]

    def object_id(self) -> str | None:
        """Return the object id of a past sign-in. Raises Unusable for a text that is none."""
        header, value = self.find("objectId")
        text = read_text(header, value, compared=True)
        if text and (found := read_object_id(text)) is None:
            raise Unusable(header, "holds no object id", f"Leave it empty, or write it as it is: {NO_OBJECT_ID}.")
        return found if text else None

    def flag(self, column: str, default: bool) -> bool:
        header, value = self.find(column)
        return read_flag(header, value, default=default)

    def active(self) -> bool | None:
        """Return whether the person may come in; None if the row does not say. Each column that says no counts."""
        on, off = self._said("active", self._answer), self._said("inactive", self._inactive)
        return on if off is None else not off and on is not False

    def _said(self, column: str, answer_of: Callable[[str], bool | None]) -> bool | None:
        if column not in self._layout:
            return None
        header, value = self.find(column)
        text = read_text(header, value, compared=True)
        return read_flag(header, text, default=True, answer_of=answer_of) if text else None

    def _answer(self, text: str) -> bool | None:
        answer = self._product.is_active(text) if self._product else None
        return find_answer(text) if answer is None else answer

    def _inactive(self, text: str) -> bool | None:
        """Return whether a cell says that somebody may not come in: yes, or the state itself, as in `disabled`."""
        state = find_state(text)
        return self._answer(text) if state is None else not state

    def listed(self, column: str) -> Iterator[tuple[str, Any]]:
        """Yield header and value of every element of a column, from all headers that hold it."""
        for header in self._layout.get(column, ()):
            value = self._cells[header]
            if isinstance(value, str):
                yield from ((header, element) for element in BETWEEN.split(value) if element)
            elif isinstance(value, list):
                yield from ((header, element) for element in value if element)
            elif value is not None:
                yield header, value


def _account(line: int, cells: _Cells) -> AccountRow:
    emails = _emails(cells)
    user_name = cells.shown("userName") or (emails[0]["value"] if emails else None)
    if not user_name:
        raise Unusable("userName", "is empty, and there is no e-mail address to take instead", "Fill it in.")
    document: dict[str, Any] = {"schemas": [USER], "userName": user_name}
    for column, (parent, name) in _TEXTS.items():
        if value := cells.text(column, compared=name in ("externalId", "employeeNumber")):
            (document.setdefault(parent, {}) if parent else document)[name] = value
    if why := unfit_to_show(document.get("displayName", "")):
        what, _, remedy = why.partition(": ")
        raise Unusable(cells.find("displayName")[0], what, f"{remedy.capitalize()}.")
    if external_id := document.get("externalId"):
        if is_nil(external_id):
            raise Unusable("externalId", "holds the id that stands for none", "Leave it empty.")
        document["externalId"] = read_object_id(external_id) or cells.shown("externalId")
    if (active := cells.active()) is not None:  # a file without a value switches nobody on again
        document["active"] = active
    multi_valued = {"emails": emails, "phoneNumbers": _phones(cells), "addresses": _addresses(cells)}
    document |= {name: elements for name, elements in multi_valued.items() if elements}
    document["schemas"] += [name for name in document if name.startswith("urn:")]
    evidence = SignInEvidence(cells.text("nameId", compared=True), cells.object_id(), _verified(cells, emails))
    own = cells.shown("applicationId", most=MAX_APPLICATION_ID)
    return AccountRow(line, document, evidence, cells.flag("protected", False), own)


def _emails(cells: _Cells) -> list[dict[str, Any]]:
    """Return the addresses, each once. The first is primary: that of the column email, or the one marked so."""
    header, value = cells.find("email")
    found: list[dict[str, Any]] = [] if value is None else [{"value": read_email(header, value), "type": "work"}]
    elements = [(header, _element(item)) for header, item in (*cells.listed("emails"), *cells.listed("otherEmails"))]
    for header, element in sorted(elements, key=lambda item: item[1].get("primary") is not True):
        kind = read_text(header, element.get("type"), compared=True) or ("other" if found else "work")
        found.append({"value": read_email(header, element.get("value")), "type": kind})
    once: dict[str, dict[str, Any]] = {}
    for item in found:
        once.setdefault(item["value"].casefold(), item)
    emails = list(once.values())
    if emails:
        emails[0]["primary"] = True
    return emails


def _element(item: object) -> Mapping[str, Any]:
    """Return an element of a list with attributes as SCIM writes them, which AWS begins with capitals."""
    return (
        {name[:1].lower() + name[1:]: one for name, one in item.items()} if isinstance(item, dict) else {"value": item}
    )


def _verified(cells: _Cells, emails: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the verified addresses: those in the column, and the account's first where the column says yes."""
    header, value = cells.find("emailVerified")
    said = None if isinstance(value, list) else find_verified(read_text(header, value, compared=True) or "")
    if said is not None:
        return (emails[0]["value"],) if said and emails else ()
    verified: list[str] = []
    for header, item in cells.listed("emailVerified"):
        text = read_text(header, item, compared=True) or ""
        answer = find_verified(text)
        if answer is None:
            verified.append(read_email(header, text))
        elif answer and emails:
            verified.append(emails[0]["value"])
    return tuple(dict.fromkeys(verified))


def _phones(cells: _Cells) -> list[dict[str, Any]]:
    found = [{"value": value, "type": kind} for column, kind in _PHONES.items() if (value := cells.text(column))]
    for header, item in cells.listed("phoneNumbers"):
        element = _element(item)
        if value := read_text(header, element.get("value")):
            found.append({"value": value, "type": read_text(header, element.get("type")) or "other"})
    return found


def _addresses(cells: _Cells) -> list[dict[str, Any]]:
    work = {name: value for column, name in _ADDRESS.items() if (value := cells.text(column))}
    found = [work | {"type": "work"}] if work else []
    for header, item in cells.listed("addresses"):
        element = _element(item)
        names = ("formatted", *_ADDRESS.values(), "type")
        if address := {name: value for name in names if (value := read_text(header, element.get(name)))}:
            found.append(address)
    return found
