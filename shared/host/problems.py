"""The one table from exception to SCIM error (RFC 7644 section 3.12).

A detail names the attribute and the remedy. An exception that is not in the table is a mistake of ours. It is answered
500 with a request id; the log tells where it happened, without its text, which may hold a person's data.
"""

from __future__ import annotations

import logging
import traceback
import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from shared.directory import errors as directory
from shared.directory.object_ids import NO_OBJECT_ID
from shared.host.auth import Forbidden, Unauthorized
from shared.host.body import ACCEPTED, BodyLost, UnknownPacking
from shared.json_text import dump
from shared.scim.endpoint import MethodNotAllowed
from shared.scim.errors import ScimError, error_body
from shared.tables.port import Damaged, Denied, LimitExceeded, TablesError, Throttled, Unavailable

log = logging.getLogger("scimlink")

Problem = tuple[int, str | None, str, Mapping[str, str]]
"""Status, scimType, detail, further headers."""


def problem(error: Exception) -> Problem:
    """Return what an exception is answered with."""
    match error:
        case UnknownPacking():
            return error.status, None, error.detail, {"Accept-Encoding": ", ".join(ACCEPTED)}
        case MethodNotAllowed():
            return error.status, None, error.detail, {"Allow": ", ".join(sorted(error.allowed))}
        case ScimError():
            return error.status, error.scim_type, error.detail, {}
        case ValidationError():
            return 400, "invalidValue", _names(error), {}
        case directory.InvalidCursor() | directory.Unfit() | directory.NobodysId():
            return 400, "invalidValue", str(error), {}
        case Unauthorized():
            return 401, None, str(error), {"WWW-Authenticate": "Bearer"}
        case Forbidden() | directory.Refused():
            return 403, None, str(error), {}
        case directory.NotFound():
            remedy = f": {error.remedy}" if error.remedy else ""
            return 404, None, f"there is no such {error.what} {error.where}{remedy}", {}
        case BodyLost():
            return 408, None, "the body did not come, or too slowly: send the request again", {}
        case directory.AlreadyExists():
            return 409, "uniqueness", str(error), {}
        case directory.Managed():
            return 409, None, str(error), {}
        case directory.Busy():
            detail = f"{error}; part of what was asked was done before" if error.half_done else str(error)
            return (409, None, detail, {}) if error.retry_after is None else _later(detail, error.retry_after)
        case directory.TooLarge() | LimitExceeded():
            return 413, None, "the resource is too large to be stored: send fewer or shorter values", {}
        case directory.Stale():
            return _later("the resource is being changed by others", 1)
        case Throttled():
            return _later("storage is busy", error.retry_after)
        case Denied():
            log.error("storage refuses this app: %s", error)
            return 500, None, f"storage refuses this app, which its operator must mend: {error}", {}
        case Unavailable():
            log.warning("storage does not answer: %s", error)
            return _later("storage does not answer", 5)
        case Damaged():
            log.error("the storage is damaged: put a backup in its place (infra/docs/local.md)")
            return 503, None, "the storage is damaged, and the administrator has to put a backup in its place", {}
    return _unexpected(error)


def is_refusal(error: Exception) -> bool:
    """Tell whether a request that raised this changed nothing. Of one that is to be sent again nobody knows."""
    if isinstance(error, directory.DirectoryError) and error.half_done:
        return False
    if isinstance(error, directory.Stale) or (isinstance(error, directory.Busy) and error.retry_after is not None):
        return False
    return isinstance(error, directory.DirectoryError | ScimError | ValidationError | Forbidden)


def error_text(status: int, scim_type: str | None, detail: str) -> str:
    """Return the JSON text of an Error message."""
    return dump(error_body(status, scim_type, detail))


def loggable(error: Exception) -> str:
    """Return what a log may say of an error: its type, and of storage's errors their text, which is about no person."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, TablesError) else name


def _later(detail: str, seconds: float) -> Problem:
    return 503, None, f"{detail}: send the request again", {"Retry-After": str(max(1, round(seconds)))}


def _names(error: ValidationError) -> str:
    """Name each wrong attribute and what is wrong with it, without its value."""
    found = error.errors(include_input=False, include_url=False)
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'body'}: {in_words(item)}" for item in found[:10])


def in_words(item: Mapping[str, Any]) -> str:
    """Say what is wrong by an error of a ValidationError, where pydantic names patterns and types in our words."""
    context = item.get("ctx", {})
    match item["type"]:
        case "extra_forbidden":
            return "no attribute of this request"
        case "string_too_long":
            return f"has more than {context['max_length']} characters: shorten it"
        case "string_too_short":
            return "must not be empty"
        case "string_pattern_mismatch" if "{8}" in context["pattern"]:
            return NO_OBJECT_ID
        case "string_pattern_mismatch":
            return "has a character that may not be in it"
    return str(item["msg"])


def _unexpected(error: Exception) -> Problem:
    request = uuid.uuid4().hex
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("request %s failed with %s\n%s", request, type(error).__name__, where)
    return 500, None, f"internal error, request {request}: the administrator finds it in the log", {}
