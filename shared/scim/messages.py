"""Response bodies as JSON text, joined from stored texts without parsing them (RFC 7644 section 3.4.2, RFC 7643 3.1).

A page of a hundred resources costs a hundred joins and no JSON work. Errors are errors.py's.
"""

from collections.abc import Sequence
from json.encoder import encode_basestring as quote

LIST_RESPONSE_URN = "urn:ietf:params:scim:api:messages:2.0:ListResponse"

_LIST_HEAD = f'{{"schemas":["{LIST_RESPONSE_URN}"],'


def resource_text(
    text: str, *, resource_type: str, created: str, last_modified: str, location: str, version: str
) -> str:
    """Return the JSON text of a resource: the stored text of a document, not empty and without `meta`, and its meta.

    The times are xsd:dateTime texts, `version` is the ETag with its quotation marks, such as `W/"3"`.
    """
    return (
        f'{text.rstrip()[:-1]},"meta":{{"resourceType":{quote(resource_type)},"created":{quote(created)},'
        f'"lastModified":{quote(last_modified)},"location":{quote(location)},"version":{quote(version)}}}}}'
    )


def meta(
    resource_type: str, created: str, last_modified: str, location: str, version: str | None = None
) -> dict[str, str]:
    """Return the same `meta` as a document, for filters to judge; a version that is not known is left out."""
    known = {"resourceType": resource_type, "created": created, "lastModified": last_modified, "location": location}
    return known | ({"version": version} if version else {})


def list_response(
    resource_texts: Sequence[str],
    total: int | None,
    start_index: int | None = None,
    *,
    previous_cursor: str | None = None,
    next_cursor: str | None = None,
) -> str:
    """Return the JSON text of a list response of these resources. `start_index` is the one asked for.

    What is None is left out: RFC 9865 section 2 allows that of the total, too.
    """
    numbers = {"totalResults": total, "startIndex": start_index, "itemsPerPage": len(resource_texts)}
    cursors = {"previousCursor": previous_cursor, "nextCursor": next_cursor}
    members = [f'"{name}":{number}' for name, number in numbers.items() if number is not None]
    members += [f'"{name}":{quote(cursor)}' for name, cursor in cursors.items() if cursor is not None]
    return f'{_LIST_HEAD}{",".join(members)},"Resources":[{",".join(resource_texts)}]}}'


def names_message(schemas: object, urn: str) -> bool:
    """Tell whether the `schemas` of a message name it; many clients leave them out."""
    return schemas is None or (isinstance(schemas, list) and urn in schemas)
