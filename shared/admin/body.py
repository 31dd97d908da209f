"""The JSON body of a request as a frozen object, which is also how the API's document describes it."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from shared.scim.document import read_json
from shared.scim.endpoint import Request


class Body(BaseModel):
    """A body in camelCase that names nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, use_attribute_docstrings=True)

    @classmethod
    def read(cls, request: Request, *, required: bool = True) -> Self:
        """Return the body of a request, {} for one that may be left out. Raises InvalidSyntax and ValidationError."""
        return cls.model_validate(read_json(request.body, written=True) if required or request.body.strip() else {})
