"""Discovery: what is advertised is what is enforced."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.scim import discovery
from shared.scim.schema import ENTERPRISE_USER_URN, GROUP, USER

BASE = "https://example.com/scim/v2"
TYPES = (USER, GROUP)


def nulls(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from nulls(item)
    elif value is None:
        yield value


@pytest.mark.parametrize(
    "body",
    [discovery.service_provider_config(BASE), discovery.resource_types(BASE, TYPES), discovery.schemas(BASE, TYPES)],
)
def test_a_discovery_body_has_schemas_and_no_null(body: dict[str, Any]) -> None:
    assert body["schemas"]
    assert not list(nulls(body))


def test_the_configuration_says_what_is_supported() -> None:
    config: dict[str, Any] = discovery.service_provider_config(BASE)
    supported = {name: value["supported"] for name, value in config.items() if "supported" in value}
    assert supported == {
        "patch": True,
        "bulk": True,
        "filter": True,
        "changePassword": False,
        "sort": True,
        "etag": True,
    }
    assert config["meta"]["location"] == f"{BASE}/ServiceProviderConfig"


def test_every_schema_of_a_resource_type_is_served_at_its_location() -> None:
    listed: Any = discovery.resource_types(BASE, TYPES)["Resources"]
    assert [item["name"] for item in listed] == ["User", "Group"]
    for item in listed:
        for urn in (item["schema"], *(extension["schema"] for extension in item.get("schemaExtensions", ()))):
            schema: Any = discovery.find_schema(BASE, urn, TYPES)
            assert schema["meta"] == {"resourceType": "Schema", "location": f"{BASE}/Schemas/{urn}"}


def test_one_is_found_in_any_case_or_not_at_all() -> None:
    assert discovery.find_schema(BASE, ENTERPRISE_USER_URN.upper(), TYPES) is not None
    assert discovery.find_schema(BASE, "urn:x", TYPES) is None
    assert discovery.find_resource_type(BASE, "user", TYPES) is not None
    assert discovery.find_resource_type(BASE, "Device", TYPES) is None


def test_a_list_of_schemas_counts_them() -> None:
    body: Any = discovery.schemas(BASE, TYPES)
    assert body["totalResults"] == body["itemsPerPage"] == len(body["Resources"]) == 3
