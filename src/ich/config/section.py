"""What every section of the config shares: frozen, unknown keys refused; and the kinds of numbers in them."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]


def _number_as_text(value: Any) -> Any:
    """`--workspace 2024`: pydantic can take a number as text, but not as a path."""
    return str(value) if type(value) in (int, float) else value


UserPath = Annotated[Path, BeforeValidator(_number_as_text), AfterValidator(Path.expanduser)]


class Section(BaseModel):
    """A part of the config: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False,
        coerce_numbers_to_str=True,  # --name 2024
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _empty_section_is_its_default(cls, values: Any) -> Any:
        """YAML reads `train:` with nothing under it as null."""
        if not isinstance(values, dict):
            return values
        sections = {
            field.alias or name for name, field in cls.model_fields.items() if isinstance(field.default, Section)
        }
        return {key: value for key, value in values.items() if value is not None or key not in sections}
