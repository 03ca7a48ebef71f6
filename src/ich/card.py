"""The card beside a trained model: everything that prediction needs and a reader wants to know, as JSON."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ich.errors import DataError
from ich.labels import LABELS, Label
from ich.workspace import fingerprint, read_json, write_json


class Gate(BaseModel):
    """When a slice is kept from stage 2.

    Attributes:
        threshold: P(any) below which stage 2 is not run.
        chosen: how the threshold was found, in words.
        missed: for each label, validation positives under the threshold.
        positives: for each label, validation positives.
    """

    model_config = ConfigDict(frozen=True)
    threshold: float
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
        size: rows and columns of the input, in pixels.
        aspect: what was done to slices that are not square.
        gate: of a cascade; None for a flat model.
        conditional_prevalence: P(subtype | any) among natural training slices, before sampling and augmentation.
        training: the run's name, its stages, slices, best validation losses.
        config: the whole resolved config.
        provenance: versions, git commit, time.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())
    model: Literal["cascade", "modified-cascade", "efficientnet", "convnext"]
    file_sha256: str
    labels: tuple[str, ...]
    windows: tuple[tuple[float, float], ...]
    size: int
    aspect: Literal["pad", "stretch"]
    gate: Gate | None
    conditional_prevalence: dict[Label, float]
    training: dict[str, Any]
    config: dict[str, Any]
    provenance: dict[str, Any]


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
            f"model {model} has no card: {path.name} must lie beside it; copy it from where the model was trained"
        )
    try:
        card = Card.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path} is not a model's card ({key}: {first['msg']}); copy it from where the model was trained"
        ) from error
    if card.labels != LABELS:
        raise DataError(
            f"{path}: labels must be {', '.join(LABELS)} in this order, "
            f"got {', '.join(card.labels)}; train the model again"
        )
    if card.file_sha256 != fingerprint(model):
        raise DataError(
            f"{path} describes another file than {model.name} (SHA-256 differs); "
            "copy both from the same training, or train again"
        )
    return card
