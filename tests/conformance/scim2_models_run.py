"""Answers filter and PATCH cases with scim2-models, the engine of scim2-server, in its own environment.

Reads a list of cases as JSON, {"document", "filter"} or {"document", "operations"}, and prints a list of answers:
whether the document passes, the document after the PATCH, or {"error": scimType}.
"""

import json
import sys
from typing import Any

from pydantic import ValidationError
from scim2_models import EnterpriseUser, PatchOp, SCIMException, ScimFilter, ScimPolicy, User

TOLERANT = ScimPolicy(
    unknown=ScimPolicy.Unknown.ignore,
    remove_value_as_filter=ScimPolicy.RemoveValue.apply,
    unmatched_path_filter=ScimPolicy.UnmatchedPathFilter.create,
)
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


def answer(case: dict[str, Any]) -> Any:
    user = User[EnterpriseUser].model_validate(case["document"])
    if "filter" in case:
        return ScimFilter[User[EnterpriseUser]](case["filter"]).match(user)
    body = {"schemas": [PATCH_OP], "Operations": case["operations"]}
    PatchOp[User[EnterpriseUser]].model_validate(body).patch(user)
    return user.model_dump()


def answer_or_error(case: dict[str, Any]) -> Any:
    try:
        return answer(case)
    except SCIMException as error:
        return {"error": error.scim_type or type(error).__name__}
    except ValidationError as error:
        kinds = {item["type"].removeprefix("scim_") for item in error.errors()}
        return {"error": " ".join(sorted(kinds))}


with TOLERANT:
    print(json.dumps([answer_or_error(case) for case in json.load(sys.stdin)]))  # noqa: T201 - the caller reads it
