"""The RFCs' own examples: each file under rfc/ is named by the section it stands in."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.scim.document import normalise
from shared.scim.evaluate import matches
from shared.scim.filter import parse_filter
from shared.scim.patch import apply, parse_operations
from shared.scim.schema import ENTERPRISE_USER_URN, GROUP, USER

RFC = Path(__file__).parent / "rfc"
TYPES = {"User": USER, "Group": GROUP}


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("path", sorted(RFC.glob("rfc7643-8.*-user-*.json")), ids=lambda path: path.stem)
def test_a_user_document_is_kept_but_for_what_clients_cannot_write(path: Path) -> None:
    body = read(path)
    kept = normalise(USER, body, id=body["id"])
    for not_kept in ("meta", "groups", "password"):
        body.pop(not_kept, None)
    body.get(ENTERPRISE_USER_URN, {}).get("manager", {}).pop("displayName", None)
    assert kept == body


@pytest.mark.parametrize("path", sorted(RFC.glob("rfc7644-3.5.2.*.json")), ids=lambda path: path.stem)
def test_a_patch_ends_as_the_rfc_says(path: Path) -> None:
    example = read(path)
    operations = parse_operations(example["request"])
    assert apply(operations, example["before"], TYPES[example["resourceType"]]) == example["after"]


@pytest.mark.parametrize("example", read(RFC / "rfc7644-3.4.2.2-filters.json"), ids=lambda example: example["filter"])
def test_a_filter_means_what_the_rfc_says(example: dict[str, Any]) -> None:
    user = read(RFC / "rfc7643-8.3-user-enterprise.json")
    tree = parse_filter(example["filter"])
    assert matches(tree, user, USER) is example["matchesEnterpriseUser"]
    assert parse_filter(str(tree)) == tree
