"""Made-up companies whose application kept of everybody an e-mail address, a name and whether the account is active.

Everything happens in them that makes such an export hard: sign-in names that are not the mail address, old and private
addresses, names written otherwise, namesakes, leavers whose address was given to somebody else, guests, shared
mailboxes, second accounts of administrators. `truth` says who is whom.

One thing that happens is not in them, since nothing could tell: a leaver's account that is still active and whose
address was given to a new person of the very same name.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from tests.link_orchestrator.running import object_id

_FIRST_NAMES = """
    Jane John Ann Bob Cleo Dan Eva Finn Greta Hugo Ida Jonas Katrin Liam Mara Nils Olga Paul Rosa Sven Tina Uwe Vera
    Jürgen Zoë José Søren Łukasz
"""
_LAST_NAMES = """
    Miller Smith Doe Stone Bauer Fischer Weber Lang Koch Hart Silva Costa Diaz Park Ito Novak Olsen Lind Maier Vogel
    Müller Groß Núñez Østby Berg Sato Rossi Moreau
"""
FIRST: Final = _FIRST_NAMES.split()
LAST: Final = _LAST_NAMES.split()
DOMAINS: Final = ("contoso.com", "contoso.com", "fabrikam.com")
LETTERS: Final = str.maketrans("üëéøłßúñÖØ", "ueeolsunOO")
POLICY: Final = {"verifiedDomains": ["contoso.com", "fabrikam.com"], "trustEmails": "inVerifiedDomains"}


@dataclass
class Company:
    """The rows of the export and the users of Entra; `truth` has the object id of each row's person, by address."""

    rows: list[dict[str, str]] = field(default_factory=list)
    users: list[dict[str, Any]] = field(default_factory=list)
    truth: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def account(self, address: str, name: str, *, of: dict[str, Any] | None = None, active: bool = True) -> None:
        """Add a row of the export, of a user or of nobody in Entra."""
        if address in {row["email"] for row in self.rows}:
            return
        self.rows.append({"email": address, "name": name, "active": "true" if active else "false"})
        if of is not None:
            self.truth[address] = of["id"]

    def user(self, name: tuple[str, str], address: str, **more: Any) -> dict[str, Any]:
        """Add a user whose sign-in name is the address, unless `more` says otherwise."""
        first, last = name
        user = {
            "id": object_id(len(self.users) + 1),
            "userPrincipalName": address,
            "mail": address,
            "displayName": f"{first} {last}",
            "givenName": first,
            "surname": last,
            "mailNickname": address.partition("@")[0],
        } | more
        self.users.append(user)
        return user

    def address(self, name: tuple[str, str], domain: str) -> str:
        """Return an address that nobody has: namesakes are numbered."""
        plain = ".".join(name).lower().translate(LETTERS)
        for number in range(1, 1000):
            if (made := f"{plain}{number if number > 1 else ''}@{domain}") not in self.taken:
                self.taken.add(made)
                return made
        raise ValueError("a thousand namesakes")


def company(seed: int, people: int = 300) -> Company:
    """Return a company of so many people, about; the same for the same seed."""
    draw, made = random.Random(seed), Company()
    kinds = [kind for kind, weight in KINDS.items() for _ in range(weight)]
    names: Iterator[tuple[str, str]] = iter(lambda: (draw.choice(FIRST), draw.choice(LAST)), ("", ""))
    for _ in range(people):
        draw.choice(kinds)(draw, made, next(names))
    return made


def _both(draw: random.Random, made: Company, name: tuple[str, str]) -> None:
    """Somebody who is in both; of a tenth the sign-in name is another than the address."""
    address = made.address(name, draw.choice(DOMAINS))
    more: dict[str, Any] = {}
    if draw.random() < 0.1:
        short = f"{name[0][0]}{name[1]}".lower().translate(LETTERS) + str(len(made.users))
        more["userPrincipalName"] = f"{short}@{address.partition('@')[2]}"
    if draw.random() < 0.01:
        more["accountEnabled"] = False
    made.account(address, _written(draw, name), of=made.user(name, address, **more), active=draw.random() > 0.02)


def _written(draw: random.Random, name: tuple[str, str]) -> str:
    """Return a name as an application may have it; a few of them agree with Entra's only in part, or are missing."""
    first, last = name
    forms = [f"{first} {last}"] * 80 + [f"{last}, {first}"] * 8 + [f"{first[0]}. {last}"] * 2 + [""] * 4
    forms += [f"{first} {last}".replace("ü", "ue").replace("ß", "ss"), f"{first} {last} (Ext)", f"Dr. {first} {last}"]
    return draw.choice([*forms, f"{first} {draw.choice(LAST)}", f"Jim {last}"])


def _old_address(draw: random.Random, made: Company, name: tuple[str, str]) -> None:
    """Somebody whose account has an address that is an alias by now."""
    old, new = made.address(name, "fabrikam.com"), made.address(name, "contoso.com")
    made.account(old, " ".join(name), of=made.user(name, new, proxyAddresses=[f"SMTP:{new}", f"smtp:{old}"]))


def _private_address(draw: random.Random, made: Company, name: tuple[str, str]) -> None:
    private = made.address(name, "home.example")
    known = {"otherMails": [private]} if draw.random() < 0.5 else {}
    made.account(private, " ".join(name), of=made.user(name, made.address(name, "contoso.com"), **known))


def _leaver(draw: random.Random, made: Company, name: tuple[str, str]) -> None:
    made.account(made.address(name, draw.choice(DOMAINS)), " ".join(name), active=draw.random() < 0.5)


def _newcomer(draw: random.Random, made: Company, name: tuple[str, str]) -> None:
    made.user(name, made.address(name, draw.choice(DOMAINS)))


def _given_away(draw: random.Random, made: Company, name: tuple[str, str]) -> None:
    """A leaver whose address a new person has: of another name, or of the same one beside a deactivated account."""
    domain = draw.choice(DOMAINS)
    address = made.address((name[0][0], name[1]), domain)
    same = draw.random() < 0.2
    other = name if same else (next(one for one in FIRST if one[0] == name[0][0] or one != name[0]), name[1])
    if other == name and not same:
        other = ("Xaver", name[1])
    more = {} if draw.random() < 0.5 else {"userPrincipalName": made.address(other, domain)}
    made.account(address, " ".join(name), active=not same and draw.random() < 0.6)
    made.user(other, address, **more)


def _passed_on(draw: random.Random, made: Company, name: tuple[str, str]) -> None:
    """Somebody whose former address a colleague has by now; both have accounts."""
    address, newer = made.address(name, "contoso.com"), made.address(name, "fabrikam.com")
    colleague = ("Xenia", name[1])
    mine = made.user(name, newer, proxyAddresses=[f"SMTP:{newer}", f"smtp:{address}"])
    made.account(address, " ".join(name), of=mine)
    theirs = made.user(colleague, address)
    made.account(made.address(colleague, "contoso.com"), " ".join(colleague), of=theirs)


def _guest(draw: random.Random, made: Company, name: tuple[str, str]) -> None:
    """Somebody of another company, whose tenant may rename them at will."""
    address = made.address(name, "partner.example")
    upn = f"{address.replace('@', '_')}#EXT#@contoso.onmicrosoft.com"
    made.account(address, " ".join(name), of=made.user(name, address, userPrincipalName=upn, userType="Guest"))


def _shared_mailbox(draw: random.Random, made: Company, name: tuple[str, str]) -> None:
    """A mailbox of many: somebody registered with its address, and it is a user of Entra, too."""
    address = made.address((draw.choice(("info", "sales", "office", "hr")), "team"), draw.choice(DOMAINS))
    made.account(address, " ".join(name))
    user = made.user(name, address, accountEnabled=draw.random() < 0.3)
    user |= {"displayName": "Team mailbox", "givenName": None, "surname": None}


def _administrator(draw: random.Random, made: Company, name: tuple[str, str]) -> None:
    """Somebody with a second user for administration, which has the same address."""
    address = made.address(name, "contoso.com")
    made.account(address, " ".join(name), of=made.user(name, address))
    made.user(name, address, userPrincipalName=f"adm.{address}")


KINDS: Final = {
    _both: 70,
    _old_address: 4,
    _private_address: 1,
    _leaver: 8,
    _newcomer: 8,
    _given_away: 4,
    _passed_on: 1,
    _guest: 2,
    _shared_mailbox: 2,
    _administrator: 1,
}
"""How often each kind of person is."""
