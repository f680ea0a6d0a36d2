"""What the models of the configuration are made of: types of values, and a base that is strict about keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator


def _number_or_full(value: Any) -> Any:
    """Refuse with one message what pydantic would refuse with one for each type of a union."""
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
TeacherMode = Literal["cached", "online"]
StoredTokens = Annotated[PositiveInt | Literal["full"], BeforeValidator(_number_or_full)]


class Strict(BaseModel):
    """A model that takes no unknown key, no NaN, no yes for a number, and does not change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic takes for 0 and 1, and YAML's reading of words such as no and on, with one message.

        Numbers as text are fine: Snakemake reads those inside ``--config key=[…]`` so, and PyYAML reads 1e-3 so.
        """
        values = value if isinstance(value, list) else [value]
        is_switch = cls.model_fields[info.field_name].annotation in (bool, bool | None)
        if not is_switch and any(isinstance(each, bool) for each in values):
            raise ValueError("a number or a text belongs here; a text that YAML takes for true or false needs quotes")
        return value


def count_ranks(training: Mapping[str, Any]) -> int:
    """Processes that train together, one a GPU, from the options ``gpus`` (a node) and ``nodes``."""
    return training["gpus"] * training["nodes"]
