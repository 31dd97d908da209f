"""The RFCs' own examples: every JSON figure of RFC 7643 section 8 and RFC 7644 section 3, a file under rfc/ for each.

A file is named by the section the figure stands in and holds it as printed, ids that the RFC shortened included; only
where the print is no JSON (a missing comma or bracket, `...`) is that mended. Each is read, made or kept by the engine
according to what it is, and a figure that no test takes fails the last test. What the PATCH figures lead to is in
rfc_patches.json; which user the filters select is with the filters.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shared.json_text import dump
from shared.scim import discovery
from shared.scim.bulk_messages import BulkOperation, bulk_response, in_order, parse_bulk, result
from shared.scim.document import normalise
from shared.scim.errors import error_body
from shared.scim.evaluate import compile_filter
from shared.scim.filter import parse_filter
from shared.scim.messages import list_response, resource_text
from shared.scim.patch import apply, parse_operations
from shared.scim.projection import Projection
from shared.scim.query import Query
from shared.scim.schema import ENTERPRISE_USER_URN, GROUP, USER, Attribute, Names, read_resource_type, read_schema

RFC = Path(__file__).parent / "rfc"
TYPES = {"User": USER, "Group": GROUP}
SCHEMAS = {schema.urn: schema for item in TYPES.values() for schema in (item.schema, *item.extensions)}
KINDS: dict[str, tuple[str, ...]] = {
    "resource": ("rfc7643-8.*-user-*", "rfc7643-8.4-group", "rfc7644-3.*-user-*", "rfc7644-3.7.2-group-*"),
    "patch": ("*-patch-*",),
    "filters": ("*-filters",),
    "search": ("*-search-request",),
    "list": ("*-list-response-*",),
    "bulk request": ("*-bulk-request-*",),
    "bulk response": ("*-bulk-response-*",),
    "error": ("*-3.*-error-*",),
    "schema": ("rfc7643-8.7.*-schema-*",),
    "resource type": ("*-resource-type-user", "*-resource-type-group"),
    "configuration": ("rfc7643-8.5-*",),
}


def files(kind: str) -> list[Path]:
    found = {path for pattern in KINDS[kind] for path in RFC.glob(f"{pattern}.json")}
    return sorted(found - ({path for path in found if "-error-" in path.stem} if kind != "error" else set()))


def figures(kind: str) -> Any:
    return pytest.mark.parametrize("path", files(kind), ids=lambda path: path.stem)


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@figures("resource")
def test_a_resource_is_kept_and_shown_but_for_what_clients_cannot_write(path: Path) -> None:
    body = read(path)
    resource_type = GROUP if GROUP.schema.urn in body["schemas"] else USER
    kept = normalise(resource_type, body, id=body.get("id"))
    meta = body.get("meta")
    for not_kept in ("groups", "password"):
        body.pop(not_kept, None)
    body.get(ENTERPRISE_USER_URN, {}).get("manager", {}).pop("displayName", None)
    expected = {name: value for name, value in body.items() if value != [] and name != "meta"}
    assert kept == expected
    if meta:
        text = resource_text(
            dump(kept),
            resource_type=resource_type.name,
            created=meta["created"],
            last_modified=meta["lastModified"],
            location=meta["location"],
            version=meta["version"],
        )
        assert json.loads(text) == {**expected, "meta": meta}


def test_a_partial_answer_shows_what_was_asked_for() -> None:
    user = read(RFC / "rfc7644-3.4.1-user-known-resource.json")
    assert Projection.parse("userName", None, USER).apply(user) == read(RFC / "rfc7644-3.9-user-partial-response.json")


@figures("patch")
def test_a_patch_ends_as_the_rfc_says(path: Path) -> None:
    case = read(RFC.parent / "rfc_patches.json")[path.stem]
    operations = parse_operations(read(path))
    assert apply(operations, case["before"], TYPES[case["resourceType"]]) == case["after"]


@pytest.mark.parametrize("example", read(RFC / "rfc7644-3.4.2.2-filters.json"), ids=lambda example: example["filter"])
def test_a_filter_means_what_the_rfc_says(example: dict[str, Any]) -> None:
    user = read(RFC / "rfc7643-8.3-user-enterprise.json")
    tree = parse_filter(example["filter"])
    assert compile_filter(tree, USER)(user) is example["matchesEnterpriseUser"]
    assert parse_filter(str(tree)) == tree


@figures("search")
def test_a_search_asks_what_its_members_say(path: Path) -> None:
    query = Query.from_message(read(path), USER)
    assert (str(query.filter), query.start_index, query.count) == ('displayName sw "smith"', 1, 10)
    assert not query.projection.is_default


@figures("list")
def test_a_list_response_has_the_members_of_the_figure(path: Path) -> None:
    body = read(path)
    texts = [dump(resource) for resource in body["Resources"]]
    made = json.loads(list_response(texts, body["totalResults"], body.get("startIndex")))
    # The figures leave resources out for brevity, and some their number.
    assert made["itemsPerPage"] == len(body["Resources"])
    assert made == {**body, "itemsPerPage": len(body["Resources"])}


@figures("bulk request")
def test_a_bulk_request_is_read_and_ordered(path: Path) -> None:
    body = read(path)
    bulk = parse_bulk(body)
    assert bulk.errors_allowed == body.get("failOnErrors")
    for operation, figure in zip(bulk.operations, body["Operations"], strict=True):
        shown = (operation.method, operation.path, operation.bulk_id, operation.version, operation.data)
        assert shown == tuple(figure.get(name) for name in ("method", "path", "bulkId", "version", "data"))
        references = {name for name in bulk.bulk_ids if f'"bulkId:{name}"' in json.dumps(figure)}
        assert operation.references == references
    assert list(in_order(bulk.operations)) == list(range(len(bulk.operations)))


@figures("bulk response")
def test_a_bulk_response_is_as_in_the_figure(path: Path) -> None:
    body = read(path)
    results = []
    for figure in body["Operations"]:
        operation = BulkOperation(figure["method"], "", figure.get("bulkId"), None, None)
        # Section 3.7.2 prints the status as an object; 3.7.3, which defines it, as the string that everybody sends.
        figure["status"] = figure["status"]["code"] if isinstance(figure["status"], dict) else figure["status"]
        more = {name: figure.get(name) for name in ("location", "version")}
        results.append(result(operation, int(figure["status"]), error=figure.get("response"), **more))
    assert json.loads(bulk_response(results)) == body


@figures("error")
def test_an_error_is_as_in_the_figure(path: Path) -> None:
    body = read(path)
    errors = [operation["response"] for operation in body["Operations"]] if "Operations" in body else [body]
    for error in errors:
        assert error_body(int(error["status"]), error.get("scimType"), error["detail"]) == error


DEVIATIONS = {
    # Ids, addresses and secrets differ by their case.
    *((name, "case_exact") for name in ("groups.value", "groups.$ref", "members.value", "members.$ref")),
    *((name, "case_exact") for name in ("manager.value", "manager.$ref", "password", "profileUrl")),
    # A manager is cleared by an empty value; a group without a name could not be found again (section 4.2).
    *((name, "required") for name in ("manager.value", "manager.$ref", "displayName")),
    # Every user says it: a removal leaves it, and a create without it makes an active one.
    ("active", "required"),
    # A member shows the name that the client gave with it, as the figures of section 3.5.2 of RFC 7644 do.
    ("members.display", "mutability"),
}
"""Where a schema here says another thing than the figure, by attribute."""


@figures("schema")
def test_a_schema_is_read_and_ours_says_the_same(path: Path) -> None:
    figure = read_schema(read(path))
    ours = SCHEMAS.get(figure.urn)
    if ours is not None:
        assert differences(figure.attributes, ours.attributes) <= DEVIATIONS
    for body in discovery_bodies():
        if figure.urn in body["schemas"]:
            assert_described(body, figure.attributes)


def differences(figure: Names, ours: Names, parent: str = "") -> set[tuple[str, str]]:
    """Return attribute and characteristic of every difference; sub-attributes included."""
    assert figure.keys() == ours.keys(), parent
    found = set()
    for name, one in figure.items():
        if name != one.name:
            continue
        other = ours[name]
        for characteristic in ("type", "multi_valued", "required", "case_exact", "mutability", "returned"):
            if getattr(one, characteristic) != getattr(other, characteristic):
                found.add((parent + name, characteristic))
        found |= differences(one.sub_attributes, other.sub_attributes, f"{parent}{name}.")
    return found


def discovery_bodies() -> list[dict[str, Any]]:
    base, types = "https://example.com/v2", list(TYPES.values())
    lists: list[Any] = [discovery.schemas(base, types)["Resources"], discovery.resource_types(base, types)["Resources"]]
    return [discovery.service_provider_config(base), *lists[0], *lists[1]]


COMMON = {"schemas", "id", "meta"}
FORGOTTEN = {"pagination", "type", "primary"}
"""What the figures of 8.7.2 do not describe: RFC 9865 added the first, figure 8.5 and section 5 have the others."""
OPTIONAL = {"schemaExtensions"}
"""What they require, and figure 8.6 itself leaves out where there is none."""


def assert_described(body: Mapping[str, Any], attributes: Names) -> None:
    """Assert that a body has the attributes that a schema requires and none it does not describe."""
    described: dict[str, Attribute] = {item.name: item for item in attributes.values()}
    assert body.keys() - COMMON - FORGOTTEN <= described.keys()
    for name, attribute in described.items():
        value = body.get(name)
        assert value is not None or not attribute.required or name in COMMON | OPTIONAL, name
        for element in value if isinstance(value, list) else [value]:
            if isinstance(element, dict):
                assert_described(element, attribute.sub_attributes)


@figures("resource type")
def test_a_resource_type_is_read_and_ours_is_the_same_but_for_what_it_requires(path: Path) -> None:
    body = read(path)
    figure, ours = read_resource_type(body, SCHEMAS), TYPES[body["name"]]
    assert (figure.name, figure.endpoint, figure.schema) == (ours.name, ours.endpoint, ours.schema)
    assert figure.extensions == ours.extensions


@figures("configuration")
def test_the_configuration_has_the_members_of_the_figure(path: Path) -> None:
    figure, ours = read(path), discovery.service_provider_config("https://example.com/v2")
    # What it does not have: documentation of its own, and a time at which it was made.
    assert figure.keys() - ours.keys() == {"documentationUri"}
    for name in ("patch", "bulk", "filter", "changePassword", "sort", "etag"):
        assert figure[name].keys() == dict(ours[name]).keys(), name  # type: ignore[call-overload]
    assert figure["filter"] == ours["filter"]


def test_every_figure_is_taken_by_a_test() -> None:
    taken = [path for kind in KINDS for path in files(kind)]
    assert sorted(set(taken)) == sorted(RFC.glob("*.json"))
    assert len(taken) == len(set(taken))
    assert read(RFC.parent / "rfc_patches.json").keys() == {path.stem for path in files("patch")}
