"""Whether the links of a reading lead in a circle. Pure.

It keeps one link, by its digest, and a later one from time to time, at distances that double (R. P. Brent, An improved
Monte Carlo factorization algorithm, BIT 20, 1980). A circle of any length is seen after three times round at most, and
what is kept with the place of a reading stays small.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from link_orchestrator.source import SourceFailed


@dataclass(frozen=True, slots=True)
class Trail:
    """The link that was kept last, how many came after it, and after how many the next one is kept."""

    kept: str = ""
    after: int = 0
    until: int = 1

    @classmethod
    def of(cls, found: Sequence[object] | None) -> Trail:
        """Return the trail of a place, which has none at the beginning."""
        if found is None:
            return cls()
        kept, after, until = found
        return cls(str(kept), int(str(after)), int(str(until)))

    def to_json(self) -> list[object]:
        return [self.kept, self.after, self.until]

    def followed(self, target: object) -> Trail:
        """Return the trail behind what is read next; only a link that Graph gave counts. Raises SourceFailed."""
        if not isinstance(target, str) or "://" not in target:
            return self
        digest = hashlib.blake2b(target.encode(), digest_size=8).hexdigest()
        if digest == self.kept:
            raise SourceFailed(
                "a link of Microsoft Graph leads back to a page that was read before: start the run again; if that "
                "ends in the same way, give the run a file of the users"
            )
        if self.after + 1 < self.until:
            return Trail(self.kept, self.after + 1, self.until)
        return Trail(digest, 0, self.until * 2)
