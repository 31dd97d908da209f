"""The customer's domains: how an administrator writes them, and in which domain an address lies.

Domains are compared as the DNS has them: `müller.example` is `xn--mller-kva.example` (A-labels, RFC 5890). The package
idna converts them by IDNA 2008 as browsers do (RFC 5891, UTS #46 without transitional mapping). Python's own codec
follows the rules of 2003, by which `straße.example` is `strasse.example`: another domain, and perhaps another's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from shared.directory.matching.entries import refuse_twice
from shared.directory.text import Advice

ATTRIBUTE: Final = "verifiedDomains"
MAX_DOMAIN: Final = 253
"""Characters of a domain name, at most (RFC 1035 section 2.3.4)."""
_PROVIDERS = """
    gmail.com googlemail.com outlook.com hotmail.com live.com msn.com yahoo.com icloud.com me.com aol.com gmx.de gmx.net
    gmx.at gmx.ch web.de t-online.de proton.me protonmail.com mail.ru qq.com 163.com onmicrosoft.com
"""
EVERYBODYS: Final = frozenset(_PROVIDERS.split())
"""Domains in which anybody gets an address. No tenant of Entra has verified one of them."""

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


@lru_cache(4096)
def to_ascii(domain: str) -> str | None:
    """Return a domain in the letters of the DNS, small ones; None for a text that is no domain name."""
    if not domain or len(domain) > MAX_DOMAIN:
        return None
    if domain.isascii():
        known = domain.lower()
    else:
        import idna  # no start needs its tables

        try:
            known = idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            return None
    return known if all(map(_LABEL.fullmatch, known.split("."))) else None


def domain_of(address: str) -> str:
    """Return the domain of an address, or of a name like one, in the letters of the DNS; "" where it has none."""
    if not address.isascii():
        address = unicodedata.normalize("NFKC", address)  # a full-width @ is one
    _, at, domain = address.strip().rpartition("@")
    if not at:
        return ""
    return domain.lower() if domain.isascii() else to_ascii(domain) or ""


@lru_cache(4096)
def other_spelling(domain: str) -> str:
    """Return a domain in Unicode if it is in the letters of the DNS, and the other way round; "" if both are one."""
    if not domain.isascii():
        return to_ascii(domain) or ""
    import idna  # no start needs its tables

    try:
        return idna.decode(domain, uts46=True) if _MARK in domain.lower() else ""
    except idna.IDNAError:
        return ""


def may_have_other_spelling(address: str) -> bool:
    """Tell whether an address may have a domain that is not written in plain letters; asked of every address."""
    return not address.isascii() or _MARK in address.lower()


_MARK: Final = "xn--"
"""How a label begins that stands for one in Unicode (RFC 5890 section 2.3.2.1)."""


def is_below(domain: str, above: Collection[str]) -> bool:
    """Tell whether a domain is a subdomain of one of these."""
    at = domain.find(".")
    while at != -1:
        if domain[at + 1 :] in above:
            return True
        at = domain.find(".", at + 1)
    return False


def normalised(domains: Iterable[str]) -> frozenset[str]:
    """Return domains in the letters of the DNS. What is no domain stays as it is: it is no address's.

    An empty one goes: a name without a domain would lie in it.
    """
    return frozenset(to_ascii(one.strip()) or one for one in domains) - {""}


def read_domains(value: object) -> tuple[frozenset[str], frozenset[str]]:
    """Return the domains of a policy, and those of them whose subdomains are the customer's, too.

    An entry is a domain, or like `{"domain": "contoso.com", "subdomains": true}`. Raises ValueError as entry_of().
    """
    if not isinstance(value, list):
        raise ValueError(f"{ATTRIBUTE}: must be a list of domains, like [{_EXAMPLE}]")
    everyone: dict[str, bool] = {}
    for item in value:
        domain, below = entry_of(item)
        everyone[domain] = below
    return frozenset(everyone), frozenset(domain for domain, below in everyone.items() if below)


def entry_of(item: object) -> tuple[str, bool]:
    """Return the domain of an entry as it is written, and whether its subdomains belong to it."""
    if isinstance(item, str):
        return item, False
    if isinstance(item, Mapping) and {"domain"} <= item.keys() <= {"domain", "subdomains"}:
        domain, below = item["domain"], item.get("subdomains", False)
        if isinstance(domain, str) and isinstance(below, bool):
            return domain, below
    raise ValueError(f"{ATTRIBUTE}: must be a list of domains, each a string or like {_WITH_SUBDOMAINS}")


def check_domains(value: object) -> None:
    """Raise ValueError for an entry that is no domain of a customer's, saying what was probably meant, and for two of
    one domain.

    A policy that is stored may have such an entry from an earlier version of the app, which it did nothing for.
    """
    for objection in objections(value):
        raise ValueError(objection)
    items = value if isinstance(value, list) else []
    refuse_twice(ATTRIBUTE, ((to_ascii(domain), below) for domain, below in map(entry_of, items)))


def objections(value: object) -> Iterator[str | Advice]:
    """Yield what is wrong with each entry that is no domain of a customer's. Raises ValueError as entry_of()."""
    for number, item in enumerate(value if isinstance(value, list) else ()):
        text, _ = entry_of(item)
        if why := _objection(text) or (_of_a_site(text) if isinstance(item, str) else None):
            where = f"{ATTRIBUTE}.{number}: "
            yield f"{where}{why}" if isinstance(why, str) else replace(why, what=f"{where}{why.what}")


def to_json(domains: Collection[str], below: Collection[str]) -> list[Any]:
    """Return domains as the policy shows them: `read_domains` reads the same."""
    return [_shown(one, one in below) for one in sorted(domains)]


def _shown(domain: str, below: bool) -> Any:
    if below:
        return {"domain": domain, "subdomains": True}
    return {"domain": domain} if _of_a_site(domain) else domain


_EXAMPLE: Final = '"contoso.com", {"domain": "fabrikam.com", "subdomains": true}'
_WITH_SUBDOMAINS: Final = '{"domain": "contoso.com", "subdomains": true}'


def _objection(text: str) -> str | Advice:
    """Return what is wrong with an entry and what was probably meant, "" for a domain."""
    said = text[:80]
    if not text.strip():
        return "is empty: take it out; a policy without domains has the list []"
    if len(re.split(r"[\s,;]+", text.strip())) > 1:
        remedy = f"make each domain an entry of its own, like [{_EXAMPLE}]"
        return Advice(f"{said!r} holds several words:", remedy, "oneDomain")
    meant = _meant(text.strip())
    if meant in EVERYBODYS:
        return f"{said!r}: anybody gets an address in {meant}, so it proves nothing: name domains of the company's own"
    if meant and meant.rpartition(".")[2].isdecimal():
        return f"{said!r} is a number or an address of a machine, and no domain: write it like contoso.com"
    if to_ascii(text) == meant and meant:
        return "" if "." in meant else f"{said!r} is no whole domain: write it like contoso.com"
    if "*" in text:
        domain = meant if meant and "." in meant else "contoso.com"
        remedy = f'for a domain and its subdomains write {{"domain": "{domain}", "subdomains": true}}'
        return Advice(f"{said!r}: there are no wildcards;", remedy, "subdomains", {"domain": domain})
    if meant and "." in meant:
        return f"{said!r} is no domain: write {of_mail(meant)}"
    return f"{said!r} is no domain: write it like contoso.com"


def _of_a_site(domain: str) -> Advice | None:
    """Return what is wrong with a domain that begins as web sites do, None for another.

    Written as an object, it is meant: people may have addresses in it.
    """
    if (mail := of_mail(domain)) == domain:
        return None
    remedy = f'write {mail}. If people have addresses like name@{domain}, write {{"domain": "{domain}"}}'
    what = f"{domain[:80]!r} is the name of a web site, in which hardly anybody has an address:"
    return Advice(what, remedy, "webSite", {"mail": mail, "domain": domain})


def of_mail(domain: str) -> str:
    """Return a domain without the www. of a web site, where a whole one is left."""
    mail = re.sub(r"^www\.", "", domain, flags=re.IGNORECASE)
    return mail if "." in mail else domain


def _meant(text: str) -> str | None:
    """Return the domain that a text is about: of a URL, an address, a wildcard, a name with dots around it."""
    rest = re.sub(r"^([a-z][a-z0-9+.-]*://|mailto:)", "", text, flags=re.IGNORECASE)
    rest = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    rest = re.sub(r":\d*$", "", rest)
    return to_ascii(rest.lstrip("*").strip("."))
