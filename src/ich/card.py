"""The card beside a trained model: everything that prediction needs and a reader wants to know, as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from ich.config.training import ModelName
from ich.errors import DataError
from ich.files import fingerprint, write_json
from ich.labels import LABELS, SUBTYPES, Label

Probability = Annotated[float, Field(ge=0, le=1)]
Window = tuple[float, Annotated[float, Field(gt=0)]]

# Keys of the card, and of the config's `preprocess` or `train`, that say what an image is to a model.
IMAGE_KEYS = ("windows", "size", "aspect", "input", "neighbours_window")

# Strict, since a card is written by `train` and by nobody else: a threshold of `true` is damage, not 1.
_FROZEN = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, protected_namespaces=())


class Gate(BaseModel):
    """When a slice is kept from stage 2.

    Attributes:
        threshold: P(any) below which stage 2 is not run.
        chosen: how the threshold was found, in words.
        missed: for each label, validation positives under the threshold.
        positives: for each label, validation positives.
    """

    model_config = _FROZEN
    threshold: Probability
    chosen: str
    missed: dict[Label, int]
    positives: dict[Label, int]


class Card(BaseModel):
    """What belongs to a model file.

    Attributes:
        model: name of the model (`train.model`).
        file_sha256: of the .keras file that this card describes.
        labels: the order of the model's six outputs.
        windows: (center, width) in HU of the red, green and blue channel.
        size: rows and columns of the input, in pixels; 32 to 1024, a multiple of 32.
        aspect: what was done to slices that are not square.
        input: what is red, green and blue: `windows` of a slice, or one window of it and its `neighbours`.
        neighbours_window: which of `windows` that is, 0 the first; 0 where the input is `windows`.
        gate: of `cascade` and `modified-cascade`; None for a flat model.
        conditional_prevalence: P(subtype | any) among natural training slices, before sampling and augmentation.
        training: the run's name, number of parameters, its stages, slices, priors (`ich.training.sampling.priors`),
            best validation losses; `weights`: the whole models that it started from (`ich.training.origin`).
        config: the whole resolved config.
        provenance: versions, git commit, time.
    """

    model_config = _FROZEN
    model: ModelName
    file_sha256: str
    labels: tuple[str, ...]
    windows: Annotated[tuple[Window, ...], Field(min_length=3, max_length=3)]
    size: Annotated[int, Field(ge=32, le=1024, multiple_of=32)]
    aspect: Literal["pad", "stretch"]
    input: Literal["windows", "neighbours"] = "windows"  # of cards that do not say: all were
    neighbours_window: Literal[0, 1, 2] = 0
    gate: Gate | None
    conditional_prevalence: dict[Label, Probability]
    training: dict[str, Any]
    config: dict[str, Any]
    provenance: dict[str, Any]

    @field_validator("neighbours_window")
    @classmethod
    def _of_neighbours_only(cls, window: int, info: ValidationInfo) -> int:
        return window if info.data.get("input") == "neighbours" else 0

    @field_validator("conditional_prevalence")
    @classmethod
    def _five_subtypes(cls, prevalence: dict[Label, float]) -> dict[Label, float]:
        if set(prevalence) != set(SUBTYPES):
            raise ValueError(f"must be of {', '.join(SUBTYPES)}, got {', '.join(prevalence) or 'none'}")
        return prevalence

    @model_validator(mode="after")
    def _only_a_cascade_has_a_gate(self) -> Self:
        if (self.gate is not None) != (self.model in ("cascade", "modified-cascade")):
            raise ValueError(
                f"a cascade has a gate, a flat model has none; got {self.model} with{'out' * (self.gate is None)} one"
            )
        return self


def card_path(model: Path) -> Path:
    """Where a model's card is: the same name, ending in .json."""
    return model.with_suffix(".json")


def write_card(model: Path, card: Card) -> Path:
    """Write the card beside its model; the model must be there first."""
    write_json(card_path(model), card.model_dump(mode="json"))
    return card_path(model)


def read_card(model: Path) -> Card:
    """Read and check the card of a model.

    Raises:
        DataError: model or card is not there, the card is not a card, is another model's, or has other labels.
    """
    path = card_path(model)
    if not model.is_file():
        raise DataError(f"model {model} does not exist; train one (`ich train`) or give the path of a .keras file")
    if not path.is_file():
        raise DataError(
            f"model {model} has no card: {path.name} must lie beside it; copy it from where the model was trained "
            "(a stage's best weights, *_best.keras, have none: give the model that ends in _final.keras)"
        )
    try:
        card = Card.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            f"{path} is not a model's card ({first_fault(error)}); copy it from where the model was trained"
        ) from error
    if card.labels != LABELS:
        raise DataError(
            f"{path}: labels must be {', '.join(LABELS)} in this order, got {list(card.labels)}; train the model again"
        )
    if card.file_sha256 != fingerprint(model):
        raise DataError(
            f"{path} describes another file than {model.name} (SHA-256 differs); "
            "copy both from the same training, or train again"
        )
    return card


def read_cards(models: Sequence[Path]) -> list[Card]:
    """Cards of models whose probabilities can be averaged: different ones, to which an image is the same.

    Raises:
        DataError: two are the same model or differ in one of `IMAGE_KEYS`, or a card cannot be used (`read_card`).
    """
    cards = [read_card(model) for model in models]
    for number, (model, card) in enumerate(zip(models, cards, strict=True)):
        for other, earlier in zip(models[:number], cards[:number], strict=True):
            if earlier.file_sha256 == card.file_sha256:
                raise DataError(f"{other} and {model} are the same model (SHA-256 is equal); give it once")
            for key in IMAGE_KEYS:
                if getattr(earlier, key) != getattr(card, key):
                    raise DataError(
                        f"{key} of {other} is {getattr(earlier, key)}, of {model} {getattr(card, key)}: models whose "
                        "mean is taken must see the same image; leave one out"
                    )
    return cards


def first_fault(error: ValidationError) -> str:
    """Key, rule and value of the first fault, on one line."""
    fault = error.errors()[0]
    key = ".".join(map(str, fault["loc"]))
    rule = fault["msg"].removeprefix("Value error, ")
    text = f"{key}: {rule}" if key else rule
    if fault["type"] not in ("json_invalid", "missing", "value_error"):  # the last says its value itself
        text += f", got {str(fault['input'])[:60]}"
    return " ".join(text.split())
