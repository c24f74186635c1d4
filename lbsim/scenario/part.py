"""What all parts of a scenario share: frozen, strict, and clear about what is wrong."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lbsim.scenario.errors import ScenarioError, problems_of


class Part(BaseModel):
    """A part of a scenario; made from keywords, it raises one `ScenarioError` with all problems."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    def __init__(self, /, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise ScenarioError(problems_of(error, type(self))) from None

    # Says that parts inside parts need no call of their own, so that the outermost reports for all.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]
