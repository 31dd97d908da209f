"""Made-up accounts and identities of any number, in which every decision of a linking run occurs.

The people are the same for the same seed, and made one at a time. The files are those that administrators have:
accounts in the generic CSV layout (link_orchestrator/files/accounts.py), identities as pages of Microsoft Graph or as
the CSV of *Download users*, which has neither aliases nor employee numbers.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

ACCOUNT_COLUMNS: Final = (
    "userName", "email", "emailVerified", "otherEmails", "nameId", "objectId", "externalId", "employeeNumber",
    "givenName", "familyName", "displayName", "title", "department", "active", "protected",
)  # fmt: skip
DOWNLOADED_COLUMNS: Final = (
    "userPrincipalName", "displayName", "surname", "mail", "givenName", "id", "userType", "jobTitle", "department",
    "accountEnabled", "alternateEmailAddress",
)  # fmt: skip
PAGE = 999
"""Identities in a page of Microsoft Graph."""
EXCLUDED_WITHIN = 1000
"""Cases, counted from the first, among which some people are excluded: the policy lists them, and has to stay short."""

_FIRST_NAMES: Final = """
    Adele Alex Amara Anton Aoife Astrid Ben Bianca Bruno Carla Chen Clara Dagny Daniel Diego Elif Emil Esther Farah
    Felix Fiona Gita Goran Hana Hugo Ines Ivan Jamal Jana Jonas Kaito Karin Kofi Lea Leon Lina Luca Maja Malik Mara
    Milan Mina Nadia Nils Noor Olga Omar Paul Petra Priya Quentin Rania Rosa Samir Sofia Tariq Teodor Uma Vera Yuki
"""
_LAST_NAMES: Final = """
    Abel Adeyemi Ahn Bauer Becker Bell Bose Brandt Castro Cohen Conti Costa Dahl Diaz Dogan Dubois Eriksen Fischer
    Fontana Garcia Gruber Haddad Hansen Hart Hofer Ibarra Iqbal Ito Jansen Jovanovic Kaya Keller Kim Koch Kowalski
    Kumar Lang Lau Lind Lopez Maier Mensah Moreau Mori Nagy Ndiaye Nowak Okafor Olsen Park Perez Popov Quist Rao Rossi
    Sato Schmid Silva Singh Sousa Tanaka Varga Weber Zhang
"""
_FIRST: Final = _FIRST_NAMES.split()
_LAST: Final = _LAST_NAMES.split()
_TITLES: Final = ("Engineer", "Analyst", "Consultant", "Designer", "Planner", "Director")
_DEPARTMENTS: Final = ("Research", "Sales", "Finance", "Operations", "Legal")
_ENTRA_GROUPS: Final = {"Sales": "SALES", "Legal": "Legal and Compliance"}
"""Names of groups in Entra that differ from those here, by the name here."""


@dataclass(frozen=True, slots=True)
class Case:
    """Rows of the accounts file, identities, and accounts that provisioning made before, which belong together."""

    accounts: tuple[dict[str, str], ...] = ()
    identities: tuple[dict[str, Any], ...] = ()
    provisioned: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Demo:
    """Demo data: three streams and the policy that goes with them, each to be read once.

    `provisioned` are SCIM Users to POST before the run: the only way for an identity to be linked already.
    """

    accounts: Iterator[dict[str, str]]
    identities: Iterator[dict[str, Any]]
    provisioned: Iterator[dict[str, Any]]
    policy: Mapping[str, Any]


def generate(accounts: int, identities: int, seed: int = 1) -> Demo:
    """Return account rows and identities, made while they are read.

    From about 1,000 on every decision occurs but setAside.
    """
    kinds = [kind for kind, count in _KINDS.items() for _ in range(count)]
    random.Random(seed).shuffle(kinds)

    def cases() -> Iterator[Case]:
        return (kinds[number % len(kinds)](_Person(number, seed)) for number in itertools.count())

    def known() -> Iterator[Case]:
        """Yield the cases whose identities are all within the number asked for."""
        left = identities
        for case in cases():
            left -= len(case.identities)
            if left < 0:
                return
            yield case

    excluded = [
        identity["id"]
        for number in range(min(EXCLUDED_WITHIN, identities))
        if kinds[number % len(kinds)] is _excluded
        for identity in _excluded(_Person(number, seed)).identities
    ]
    return Demo(
        itertools.islice((row for case in cases() for row in case.accounts), accounts),
        itertools.islice((row for case in cases() for row in case.identities), identities),
        (row for case in known() for row in case.provisioned),
        {
            "verifiedDomains": ["contoso.com", "fabrikam.com"],
            "nameIdSource": "userPrincipalName",
            "excluded": excluded,
        },
    )


@dataclass(frozen=True, slots=True)
class _Person:
    """The person of one case, made of its number alone."""

    number: int
    seed: int

    @property
    def given_name(self) -> str:
        return _FIRST[self.number % len(_FIRST)]

    @property
    def family_name(self) -> str:
        # Sixty first names and sixty-four last ones: 61 and 64 have no common factor, so all pairs come once each.
        return _LAST[(self.number + self.number // len(_FIRST)) % len(_LAST)]

    @property
    def local(self) -> str:
        again = self.number // (len(_FIRST) * len(_LAST))
        return f"{self.given_name}.{self.family_name}".lower() + (str(again + 1) if again else "")

    @property
    def address(self) -> str:
        return f"{self.local}@{'contoso.com' if self.number % 3 else 'fabrikam.com'}"

    def object_id(self, which: str = "") -> str:
        text = hashlib.blake2b(f"{self.seed}:{self.number}:{which}".encode(), digest_size=16).hexdigest()
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"

    def account(self, **columns: str) -> dict[str, str]:
        row = {
            "userName": self.address,
            "email": self.address,
            "givenName": self.given_name,
            "familyName": self.family_name,
            "displayName": f"{self.given_name} {self.family_name}",
            "title": _TITLES[self.number % len(_TITLES)],
            "department": _DEPARTMENTS[self.number % len(_DEPARTMENTS)],
            "active": "true",
        }
        return row | columns

    def identity(self, **attributes: Any) -> dict[str, Any]:
        document = {
            "id": self.object_id(),
            "userPrincipalName": self.address,
            "mail": self.address,
            "proxyAddresses": [f"SMTP:{self.address}"],
            "otherMails": [],
            "accountEnabled": True,
            "userType": "Member",
            "givenName": self.given_name,
            "surname": self.family_name,
            "displayName": f"{self.given_name} {self.family_name}",
            "mailNickname": self.local,
            "employeeId": str(100_000 + self.number),
            "jobTitle": _TITLES[self.number % len(_TITLES)],
            "department": _DEPARTMENTS[self.number % len(_DEPARTMENTS)],
        }
        return document | attributes


def _user_name(person: _Person) -> Case:
    return Case((person.account(),), (person.identity(),))


def _verified_email(person: _Person) -> Case:
    return Case((person.account(userName=person.local, emailVerified="true"),), (person.identity(),))


def _signed_in(person: _Person) -> Case:
    """A name that changed since the last sign-in, in Entra only."""
    name = f"{person.local}.new@contoso.com"
    return Case(
        (person.account(objectId=person.object_id()),),
        (person.identity(userPrincipalName=name, mail=name, proxyAddresses=[f"SMTP:{name}"]),),
    )


def _name_id(person: _Person) -> Case:
    return Case((person.account(userName=person.local, email="", nameId=person.address),), (person.identity(),))


def _external_id(person: _Person) -> Case:
    return Case((person.account(userName=person.local, email="", externalId=person.object_id()),), (person.identity(),))


def _guest_of_ours(person: _Person) -> Case:
    return _guest(person, "fabrikam.com")


def _guest_from_outside(person: _Person) -> Case:
    return _guest(person, "partner.example")


def _guest(person: _Person, home: str) -> Case:
    address = f"{person.local}@{home}"
    name = f"{person.local}_{home}#EXT#@contoso.onmicrosoft.com"
    guest = person.identity(
        userPrincipalName=name, mail=address, proxyAddresses=[f"SMTP:{address}"], userType="Guest", employeeId=None
    )
    return Case((person.account(userName=address, email=address),), (guest,))


def _alias(person: _Person) -> Case:
    alias = f"{person.local}.alias@contoso.com"
    identity = person.identity(proxyAddresses=[f"SMTP:{person.address}", f"smtp:{alias}"])
    return Case((person.account(userName=person.local, email=alias),), (identity,))


def _employee_number(person: _Person) -> Case:
    number = str(100_000 + person.number)
    return Case((person.account(userName=person.local, email="", employeeNumber=number),), (person.identity(),))


def _disabled(person: _Person) -> Case:
    return Case((person.account(),), (person.identity(accountEnabled=False),))


def _protected(person: _Person) -> Case:
    return Case((person.account(protected="true"),), (person.identity(),))


def _excluded(person: _Person) -> Case:
    return _user_name(person)


def _claimed_twice(person: _Person) -> Case:
    """A second identity that carries the address as its own."""
    second = person.identity(
        id=person.object_id("second"), userPrincipalName=f"adm.{person.local}@contoso.com", employeeId=None
    )
    return Case((person.account(emailVerified="true"),), (person.identity(), second))


def _given_away(person: _Person) -> Case:
    """The name of a former employee, given to a new one."""
    return Case((person.account(objectId=person.object_id("before")),), (person.identity(),))


def _two_accounts(person: _Person) -> Case:
    second = person.account(userName=person.local, email=f"{person.local}.old@contoso.com")
    identity = person.identity(proxyAddresses=[f"SMTP:{person.address}", f"smtp:{second['email']}"])
    return Case((person.account(), second), (identity,))


def _linked_already(person: _Person) -> Case:
    user = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "externalId": person.object_id(),
        "userName": person.address,
        "displayName": f"{person.given_name} {person.family_name}",
        "active": True,
        "emails": [{"value": person.address, "type": "work", "primary": True}],
    }
    return Case((), (person.identity(),), (user,))


def _no_identity(person: _Person) -> Case:
    return Case((person.account(userName=f"{person.local}.contractor"),))


def _no_account(person: _Person) -> Case:
    return Case((), (person.identity(),))


_KINDS: Final[Mapping[Callable[[_Person], Case], int]] = {
    _user_name: 104,
    _verified_email: 20,
    _signed_in: 12,
    _name_id: 8,
    _external_id: 2,
    _guest_of_ours: 2,
    _alias: 6,
    _employee_number: 3,
    _disabled: 2,
    _guest_from_outside: 3,
    _protected: 1,
    _excluded: 1,
    _claimed_twice: 1,
    _given_away: 1,
    _two_accounts: 2,
    _linked_already: 2,
    _no_identity: 10,
    _no_account: 25,
}
"""How often each kind of case comes in a round, which has 180 accounts and 196 identities, 148 of them strong links."""


def write(demo: Demo, folder: Path, *, downloaded: bool = False) -> None:
    """Write accounts.csv, identities.json, provisioned.jsonl and policy.json.

    If `downloaded`, the identities are in identities.csv, as *Download users* has them. Departments are groups: those
    of the application are in groups.csv, those of Entra in entra_groups.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "groups.csv").open("w", encoding="utf-8", newline="") as file:
        groups = csv.writer(file)
        groups.writerow(("group", "userName"))
        _write_csv(folder / "accounts.csv", ACCOUNT_COLUMNS, _with_groups(demo.accounts, groups.writerow))
    with (folder / "entra_groups.json").open("w", encoding="utf-8") as file:
        identities = _with_entra_groups(demo.identities, file)
        if downloaded:
            rows = (row | {"alternateEmailAddress": ";".join(row["otherMails"])} for row in identities)
            _write_csv(folder / "identities.csv", DOWNLOADED_COLUMNS, rows)
        else:
            _write_pages(folder / "identities.json", identities)
    with (folder / "provisioned.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(user) + "\n" for user in demo.provisioned)
    (folder / "policy.json").write_text(json.dumps(demo.policy, indent=2) + "\n", encoding="utf-8")


def _with_groups(rows: Iterable[dict[str, str]], note: Callable[[tuple[str, str]], Any]) -> Iterator[dict[str, str]]:
    for row in rows:
        note((row["department"], row["userName"]))
        yield row


def _with_entra_groups(rows: Iterator[dict[str, Any]], file: TextIO) -> Iterator[dict[str, Any]]:
    """Yield the identities; write their groups a page of members at a time, as a large group comes from Graph."""
    while page := list(itertools.islice(rows, PAGE)):
        for name in sorted({_ENTRA_GROUPS.get(row["department"], row["department"]) for row in page}):
            inside = [row["id"] for row in page if _ENTRA_GROUPS.get(row["department"], row["department"]) == name]
            object_id = _Person(0, 0).object_id(name)
            file.write(json.dumps({"id": object_id, "displayName": name, "members": inside}) + "\n")
        yield from page


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _write_pages(path: Path, rows: Iterator[dict[str, Any]]) -> None:
    context = "https://graph.microsoft.com/v1.0/$metadata#users"
    with path.open("w", encoding="utf-8") as file:
        while page := list(itertools.islice(rows, PAGE)):
            file.write(json.dumps({"@odata.context": context, "value": page}) + "\n")


def main() -> None:
    """Write demo data as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.demo_data", description=__doc__)
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--identities", type=int, default=1_100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    what = "identities as the CSV of Download users, not as pages of Graph"
    parser.add_argument("--downloaded", action="store_true", help=what)
    options = parser.parse_args()
    write(generate(options.accounts, options.identities, options.seed), options.out, downloaded=options.downloaded)


if __name__ == "__main__":
    main()
