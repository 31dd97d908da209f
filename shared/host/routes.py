"""Route templates as the Functions host reads them, to tell which methods an address takes.

Literals match in either case of an ASCII letter; `{name}` is one segment of a path, and `{*name}` the rest of it, which
may be none. An empty segment matches nothing, unless it stands within such a rest (aspnetcore: RoutePatternMatcher).
https://learn.microsoft.com/azure/azure-functions/functions-bindings-http-webhook-trigger#customize-the-http-endpoint
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

_PARAMETER = re.compile(r"\{(\*?)(\w+)\}")

Matcher = Callable[[str], re.Match[str] | None]
"""Takes a path that begins with a slash; its match holds the parameters."""


@cache
def matcher(template: str) -> Matcher:
    """Return the matcher of a template such as `accounts/{id}/link`. A slash at the end of a path does not count."""
    pattern = ""
    for segment in template.split("/"):
        parameter = _PARAMETER.fullmatch(segment)
        if parameter is None:
            pattern += "/" + re.escape(segment)
        elif parameter[1]:
            pattern += f"(?:/(?P<{parameter[2]}>[^/].*))?"
        else:
            pattern += f"/(?P<{parameter[2]}>[^/]+)"
    return re.compile(pattern + "/?", re.IGNORECASE | re.ASCII | re.DOTALL).fullmatch


def methods_with_head(method: str) -> list[str]:
    """Return the methods of a function that answers this one: whoever takes GET takes HEAD (RFC 9110 section 9.3.2)."""
    return ["GET", "HEAD"] if method == "GET" else [method]
