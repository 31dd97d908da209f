"""What linking runs saw of identities and accounts, so that a later run finds what changed and reads nothing else.

The first run of a chain saw everything, each later one what had changed since the one before. Fingerprints and digests
are kept, and no personal data. They are staged in the bucket of the identity or of the account, in five sets of lines:

* for each identity: its fingerprint, the digest of its id, and the short leads of its keys (Keys.lead), or that it is
  gone;
* for each account: the digest of its facts, read before the run looks for pairs, or that it is gone;
* for each account that the plan links: that digest before and after the link, the latter in doubt if other identities
  share a key with it;
* for each account that shares a key with identities: which identities, and what each claims of it;
* for each account that carries a value which is no evidence, as many carry it: the short leads of each of these values,
  the one of its own kind first. An address has others, too: an account's name or NameID may be that address.

What is in doubt counts as changed: where a slice ran twice, or where an account changed while the run looked at it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from shared.directory.keys import Keys
from shared.directory.work.staging import Stage, parse
from shared.json_text import dump
from shared.tables.port import Tables

SETS = IDENTITIES, FACTS, LINKED, NEAR, CROWDS = "seen4", "facts3", "linked3", "near3", "crowds3"
"""Names of the sets. When what is kept or how runs decide changes, they change too: then all counts as changed."""
DAYS: Final = 30
"""Days after the end of a run for which what it saw is kept; a run that begins later reads everything again."""
SHORT: Final = 10
"""Characters of a lead that are kept. Two leads that are alike in them cost a needless look and no more."""
GONE: Final = "-"
IN_DOUBT: Final = ""
"""In the place of a digest where it is not sure what a run saw; no digest equals it."""
_ID = slice(2, 38)
"""The place of the account's id in a line of NEAR."""

Leads = tuple[str, ...]
"""The short leads to the accounts that carry one value; the first is the one of the value's own kind."""


def short(lead: str) -> str:
    """Return the part of a lead that is kept."""
    return lead[:SHORT]


class Seen:
    """What a chain of runs saw, the first of them first."""

    def __init__(self, tables: Tables, keys: Keys, runs: Sequence[str]) -> None:
        self._runs = [{name: Stage(tables, keys, run + name) for name in SETS} for run in runs]

    async def identities(self, bucket: int) -> dict[str, str]:
        """Return, by the fingerprint of each identity in a bucket, its id's digest and short leads with spaces."""
        known: dict[str, str] = {}
        for run in self._runs:
            async for lines in run[IDENTITIES].lines(bucket):
                for line in lines:
                    if line.startswith(GONE):
                        known.pop(line[1:], None)
                    else:
                        fingerprint, _, keys = line.partition(" ")
                        known[fingerprint] = keys
        return known

    async def accounts(self, bucket: int) -> dict[str, str]:
        """Return, by account id, the digest of facts of each account in a bucket after all links that runs planned."""
        known: dict[str, str] = {}
        for run in self._runs:
            known |= await _facts(run, bucket)
            linked: dict[str, str] = {}
            async for lines in run[LINKED].lines(bucket):
                for line in lines:
                    account_id, before, after = line.split(" ")
                    # The plan decided on the account as it was before; if that is not what was seen, it is in doubt.
                    same = linked.get(account_id, after) == after and known.get(account_id) == before
                    linked[account_id] = after if same else IN_DOUBT
            known |= linked
        return {account_id: digest for account_id, digest in known.items() if digest != GONE}

    async def facts(self, bucket: int, ids: Collection[str]) -> dict[str, str]:
        """Return, by account, the digest of the facts of which the last plan that looked at it was made."""
        known: dict[str, str] = {}
        for run in self._runs if ids else ():
            known |= await _facts(run, bucket, ids)
        return known

    async def near(self, bucket: int, ids: Collection[str]) -> dict[str, dict[str, str]]:
        """Return, by account, the object ids of the identities that share a key with it, each with its claim or ""."""
        known: dict[str, dict[str, str]] = {}
        for run in self._runs if ids else ():
            found: dict[str, dict[str, str]] = {}
            async for lines in run[NEAR].lines(bucket):
                for account_id, pairs in parse(line for line in lines if line[_ID] in ids):
                    found.setdefault(account_id, {}).update(pairs)
            known |= found
        return known

    async def crowds(self, bucket: int, ids: Collection[str]) -> dict[str, set[Leads]]:
        """Return, by account, the short leads of each of the values of an account that are no evidence."""
        known: dict[str, set[Leads]] = {}
        for run in self._runs if ids else ():
            found: dict[str, set[Leads]] = {}
            async for lines in run[CROWDS].lines(bucket):
                for line in lines:
                    account_id, *values = line.split(" ")
                    if account_id in ids:
                        found.setdefault(account_id, set()).update(tuple(one.split(",")) for one in values)
            known |= found
        return known


async def _facts(run: Mapping[str, Stage], bucket: int, ids: Collection[str] | None = None) -> dict[str, str]:
    """Return, by account, the digest of the facts that a run saw, of all or some accounts in a bucket."""
    facts: dict[str, str] = {}
    async for lines in run[FACTS].lines(bucket):
        for line in lines:
            account_id, _, digest = line.partition(" ")
            if ids is None or account_id in ids:
                facts[account_id] = digest if facts.get(account_id, digest) == digest else IN_DOUBT
    return facts


class SeenWriter:
    """Keeps what one slice of a run sees. Close it, or what it holds is lost."""

    def __init__(self, tables: Tables, keys: Keys, run: str, slice_name: str) -> None:
        self._keys = keys
        self._sets = {name: Stage(tables, keys, run + name).writer(slice_name) for name in SETS}

    async def add_identity(self, bucket: int, fingerprint: str, id_digest: str, leads: Iterable[str]) -> None:
        """Keep an identity of a bucket with the digest of its id and the leads of its keys."""
        await self._sets[IDENTITIES].add_line(bucket, " ".join((fingerprint, id_digest, *map(short, leads))))

    async def drop_identity(self, bucket: int, fingerprint: str) -> None:
        """Keep that an identity is gone, or has changed."""
        await self._sets[IDENTITIES].add_line(bucket, GONE + fingerprint)

    async def add_account(self, account_id: str, digest: str) -> None:
        """Keep an account with the digest of its facts."""
        await self._sets[FACTS].add_line(self._keys.bucket(account_id), f"{account_id} {digest}")

    async def doubt_account(self, account_id: str) -> None:
        """Keep that the next run is to look at an account, changed or not."""
        await self.add_account(account_id, IN_DOUBT)

    async def drop_account(self, account_id: str) -> None:
        """Keep that an account is gone."""
        await self.add_account(account_id, GONE)

    async def add_link(self, account_id: str, before: str, after: str) -> None:
        """Keep the digests of facts of an account as the plan saw it and as the plan's link leaves it."""
        await self._sets[LINKED].add_line(self._keys.bucket(account_id), f"{account_id} {before} {after}")

    async def add_near(self, account_id: str, claims: Mapping[str, str]) -> None:
        """Keep which identities share a key with an account, each with its claim, "" if it has none."""
        await self._sets[NEAR].add_line(self._keys.bucket(account_id), dump([account_id, list(claims.items())]))

    async def add_crowds(self, account_id: str, values: Iterable[Leads]) -> None:
        """Keep the short leads of each of the values of an account that are no evidence; none if there are none now."""
        texts = sorted(map(",".join, values))
        await self._sets[CROWDS].add_line(self._keys.bucket(account_id), " ".join((account_id, *texts)))

    async def close(self) -> None:
        """Write all that is held."""
        for writer in self._sets.values():
            await writer.close()


def stages_of(run: str) -> list[str]:
    """Return the names of the stages that hold what a run saw, to be announced."""
    return [run + name for name in SETS]
