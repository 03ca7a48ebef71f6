"""What every section of the config shares: frozen, unknown keys refused; and the kinds of numbers in them."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]


def _number_as_text(value: Any) -> Any:
    """`--workspace 2024`: pydantic can take a number as text, but not as a path."""
    return str(value) if type(value) in (int, float) else value


def _usable(path: Path, info: ValidationInfo) -> Path:
    if "\0" in str(path):
        raise ValueError(f"{info.field_name}: a path cannot hold a null character")
    try:
        return path.expanduser()
    except RuntimeError as error:  # ~nosuchuser
        raise ValueError(f"{info.field_name}: there is no such home folder, {path}; write the path in full") from error


def _location(value: str, info: ValidationInfo) -> str:
    """A URL as it is; a path, or a file:// URL, as a usable path."""
    if "://" in value and not value.startswith("file://"):
        return value
    return str(_usable(Path(value.removeprefix("file://")), info))


UserPath = Annotated[Path, BeforeValidator(_number_as_text), AfterValidator(_usable)]
Location = Annotated[
    str, BeforeValidator(lambda value: os.fspath(value) if isinstance(value, os.PathLike) else _number_as_text(value)),
    AfterValidator(_location),
]  # fmt: skip


class Section(BaseModel):
    """A part of the config: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False,
        coerce_numbers_to_str=True,  # --name 2024
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _what_is_left_out_is_the_default(cls, values: Any) -> Any:
        """`train:` with nothing under it, which YAML reads as null, and `red: {width: 200}` without its center."""
        if not isinstance(values, dict):
            return values
        given = dict(values)
        for name, field in cls.model_fields.items():
            key = field.alias or name
            if isinstance(field.default, Section) and key in given:
                part = given.pop(key)
                if part is not None:
                    defaults = {each: getattr(field.default, each) for each in type(field.default).model_fields}
                    given[key] = defaults | part if isinstance(part, dict) else part
        return given
