"""Response bodies joined from stored texts."""

import json

from shared.json_text import dump
from shared.scim.errors import InvalidFilter, error_body
from shared.scim.messages import list_response, resource_text

DOCUMENT = {"schemas": ["urn:x"], "id": "1", "displayName": 'Åsa "}'}
META = {
    "resourceType": "User",
    "created": "2026-11-23T17:30:00Z",
    "lastModified": "2026-11-23T17:31:00Z",
    "location": "https://example.com/scim/v2/Users/1",
    "version": 'W/"3"',
}


def rendered(text: str) -> str:
    return resource_text(
        text,
        resource_type=META["resourceType"],
        created=META["created"],
        last_modified=META["lastModified"],
        location=META["location"],
        version=META["version"],
    )


def test_a_resource_is_its_document_with_meta() -> None:
    for text in (dump(DOCUMENT), json.dumps(DOCUMENT, indent=2) + "\n"):
        assert json.loads(rendered(text)) == DOCUMENT | {"meta": META}


def test_a_list_response_holds_the_resources_in_order() -> None:
    texts = [rendered(dump(DOCUMENT | {"id": id})) for id in ("1", "2")]
    assert json.loads(list_response(texts, 7, 6)) == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": 7,
        "startIndex": 6,
        "itemsPerPage": 2,
        "Resources": [DOCUMENT | {"id": "1", "meta": META}, DOCUMENT | {"id": "2", "meta": META}],
    }


def test_an_empty_list_response_has_resources_too() -> None:
    body = json.loads(list_response([], 0, 1))
    assert (body["totalResults"], body["itemsPerPage"], body["Resources"]) == (0, 0, [])


def test_an_error_body_has_its_status_as_a_text() -> None:
    error = InvalidFilter("Write a filter.")
    assert error_body(error.status, error.scim_type, error.detail) == {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
        "status": "400",
        "scimType": "invalidFilter",
        "detail": "Write a filter.",
    }
    assert "scimType" not in error_body(404, None, "There is no such user.")
