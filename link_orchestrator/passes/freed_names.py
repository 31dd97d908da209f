"""Which userNames an import takes from accounts that it renames: its other rows are judged as if they still had them.

A row renames the account that has its applicationId. Rows of other names are in other buckets, and buckets come in any
order: without this, whether a row with the former name met the account or a free name was chance, and no preview could
foretell it. So each renaming is noted before it is written, in the bucket of the former name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from link_orchestrator.files.accounts import AccountRow
from link_orchestrator.staged import FREED
from shared.directory.directory import Directory
from shared.directory.keys import Key, fold
from shared.directory.records.bulk import AccountChange
from shared.directory.records.model import Account
from shared.directory.work.jobs import Job

KEYED: Final = "keyed"
"""The option of an import that says that rows of its file have an applicationId."""


async def note_freed(directory: Directory, job: Job, bucket: int, changes: Iterable[AccountChange]) -> None:
    """Note the names that accounts are about to give up; `bucket` is that of the rows which rename them."""
    writer = directory.stage(job.id + FREED).writer(f"{bucket:02x}")
    for before, after in changes:
        if fold(before.user_name) != fold(after.user_name):
            await writer.add(_bucket_of(directory, before.user_name), [fold(before.user_name), before.id])
    await writer.close()


async def with_freed(
    directory: Directory, job: Job, rows: Sequence[AccountRow], holders: Sequence[Account | None]
) -> Sequence[Account | None]:
    """Return who had the userName of each row before the import. `holders`, read before, have it by now.

    The rows are of one bucket.
    """
    if not job.options.get(KEYED):
        return holders
    missing = {fold(row.user_name) for row, holder in zip(rows, holders, strict=True) if holder is None}
    if not missing:
        return holders
    freed: dict[str, str] = {}
    async for items in directory.stage(job.id + FREED).read(_bucket_of(directory, rows[0].user_name)):
        freed |= {name: account_id for name, account_id in items if name in missing}
    found = {one.id: one for one in await directory.accounts.find_many(sorted(set(freed.values()))) if one}
    return [holder or found.get(freed.get(fold(row.user_name), "")) for row, holder in zip(rows, holders, strict=True)]


def _bucket_of(directory: Directory, user_name: str) -> int:
    return directory.keys.bucket(directory.keys.digest(Key("userName", user_name)))
