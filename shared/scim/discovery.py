"""Bodies of the discovery endpoints (RFC 7644 section 4; RFC 7643 sections 5, 6, 7; RFC 9865 section 4).

`base` is the SCIM root's URL. The schemas shown are the documents that schema.py enforces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.scim.limits import CURSOR_SECONDS, DEFAULT_COUNT, MAX_BULK_BYTES, MAX_BULK_OPERATIONS, MAX_COUNT
from shared.scim.messages import LIST_RESPONSE_URN
from shared.scim.schema import ResourceType

Body = dict[str, object]


def service_provider_config(base: str) -> Body:
    """Return the body of /ServiceProviderConfig."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {"supported": True, "maxOperations": MAX_BULK_OPERATIONS, "maxPayloadSize": MAX_BULK_BYTES},
        "filter": {"supported": True, "maxResults": MAX_COUNT},
        "changePassword": {"supported": False},
        "pagination": {
            "cursor": True,
            "index": True,
            "defaultPaginationMethod": "index",
            "defaultPageSize": DEFAULT_COUNT,
            "maxPageSize": MAX_COUNT,
            "cursorTimeout": CURSOR_SECONDS,
        },
        "sort": {"supported": True},
        "etag": {"supported": True},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "OAuth Bearer Token",
                "description": "A bearer token in the Authorization header of every request.",
                "specUri": "https://www.rfc-editor.org/info/rfc6750",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }


def resource_types(base: str, types: Sequence[ResourceType]) -> Body:
    """Return the body of /ResourceTypes, a list response."""
    return _list(_resource_types(base, types))


def find_resource_type(base: str, name: str, types: Sequence[ResourceType]) -> Body | None:
    """Return the body of /ResourceTypes/{name}, or None if there is no such type."""
    return _find(_resource_types(base, types), name)


def schemas(base: str, types: Sequence[ResourceType]) -> Body:
    """Return the body of /Schemas, a list response: the schemas of the types and of their extensions."""
    return _list(_schemas(base, types))


def find_schema(base: str, urn: str, types: Sequence[ResourceType]) -> Body | None:
    """Return the body of /Schemas/{urn}, or None if there is no such schema."""
    return _find(_schemas(base, types), urn)


def _resource_types(base: str, types: Sequence[ResourceType]) -> list[Body]:
    return [_located(item.document, "ResourceType", f"{base}/ResourceTypes/{item.name}") for item in types]


def _schemas(base: str, types: Sequence[ResourceType]) -> list[Body]:
    by_urn = {schema.urn: schema for item in types for schema in (item.schema, *item.extensions)}
    return [_located(item.document, "Schema", f"{base}/Schemas/{item.urn}") for item in by_urn.values()]


def _located(document: Mapping[str, object], resource_type: str, location: str) -> Body:
    return {**document, "meta": {"resourceType": resource_type, "location": location}}


def _list(resources: Sequence[Body]) -> Body:
    return {
        "schemas": [LIST_RESPONSE_URN],
        "totalResults": len(resources),
        "startIndex": 1,
        "itemsPerPage": len(resources),
        "Resources": resources,
    }


def _find(resources: Sequence[Body], id: str) -> Body | None:
    """Return the resource with that id. Case counts in neither URNs nor names of resource types."""
    return next((item for item in resources if str(item["id"]).lower() == id.lower()), None)
