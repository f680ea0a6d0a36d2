"""Types of configuration values, and the strict base class of the configuration's models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator


def _number_or_full(value: Any) -> Any:
    """Give one error where pydantic would give one for each type of the union."""
    if value == "full":
        return value
    if not re.fullmatch("[1-9][0-9]*", str(value)):
        raise ValueError("input should be a whole number greater than 0, or full")
    return int(value)


SPLITS = ("train", "valid", "test")
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # what numpy's generator takes
Files = Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=2)]  # two texts, or one TSV
Divergence = Literal["forward_kl", "reverse_kl"]
TeacherMode = Literal["cached", "online"]
StoredTokens = Annotated[PositiveInt | Literal["full"], BeforeValidator(_number_or_full)]


class Strict(BaseModel):
    """An immutable model that refuses unknown keys, NaN, and booleans where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse booleans, which pydantic would read as 0 and 1, and which YAML makes of words such as no and on.

        Numbers as text are allowed, because Snakemake reads those inside ``--config key=[…]`` as text, and PyYAML 1e-3.
        """
        values = value if isinstance(value, list) else [value]
        annotation: Any = cls.model_fields[str(info.field_name)].annotation
        is_switch = annotation in (bool, bool | None)
        if not is_switch and any(isinstance(each, bool) for each in values):
            raise ValueError("expected a number or text; text that YAML reads as true or false needs quotes")
        return value


def count_ranks(training: Mapping[str, Any]) -> int:
    """Processes that train together, one a GPU, from the options ``gpus`` (a node) and ``nodes``."""
    return training["gpus"] * training["nodes"]
