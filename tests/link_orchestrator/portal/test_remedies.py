"""A page says what to do in its own words, wherever the API says it in those of requests."""

from __future__ import annotations

import pytest

from link_orchestrator.files.accounts import WHICH_NAME
from link_orchestrator.files.text import REMEDY
from link_orchestrator.passes.import_accounts import WITH_PROTECTED
from link_orchestrator.portal.remedies import in_page_words
from link_orchestrator.requests.reviews import ALONE, NAME_ACCOUNT


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (REMEDY, "Save the file as UTF-8 and send it again, or choose its encoding, under More choices"),
        (WHICH_NAME, "under What was read"),
        (f"change it by hand, or {WITH_PROTECTED}", "Let rows change protected accounts"),
        (f"a row that is outsideVerifiedDomains is linked alone: {ALONE}", "press Link in its own row"),
        (f"several accounts match: {NAME_ACCOUNT}", "several accounts match: open the row, and choose it there"),
        ("evidence.objectId: a GUID; null takes it away", "or empty the field"),
    ],
)
def test_remedies_in_the_words_of_requests_are_said_in_those_of_pages(text: str, told: str) -> None:
    said = in_page_words(text)
    assert told in said
    for word in ("Content-Type", "by columns", "protected=change", "of rows", "null"):
        assert word not in said
