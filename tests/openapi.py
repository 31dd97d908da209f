"""Holds answers of the administrator's API against the document that describes it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from link_orchestrator.functions import described
from link_orchestrator.requests import openapi


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    return openapi.document(described())


def check_answer(method: str, path: str, status: int, shown: Any) -> None:
    """Assert that the document has the operation, and that it may answer so."""
    operation = _find(method, path)
    answers: Mapping[str, Any] = operation["responses"]
    if status >= 400:
        _check("Error", json.dumps(shown))
        return
    assert str(status) in answers, f"{method} {path} answered {status}, which is not described"
    for content in answers[str(status)].get("content", {}).values():
        _check(content["schema"]["$ref"].rpartition("/")[2], json.dumps(shown))


@cache
def _check(schema: str, text: str) -> None:
    """Assert that an answer has this schema, once: whoever waits for a job is told the same again and again."""
    _validator(schema).validate(json.loads(text))


@cache
def _validator(schema: str) -> Draft202012Validator:
    root = {"$ref": f"#/components/schemas/{schema}", "components": document()["components"]}
    return Draft202012Validator(root)


def _find(method: str, path: str) -> Mapping[str, Any]:
    for template in sorted(document()["paths"], key=lambda template: template.replace("{", "\x7f")):
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        operations = document()["paths"][template]
        if re.fullmatch(pattern, path.partition("?")[0]) and method.lower() in operations:
            return operations[method.lower()]
    raise AssertionError(f"{method} {path} is not described")
