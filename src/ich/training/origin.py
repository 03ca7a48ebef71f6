"""Whole models that a training starts from: they may have been trained on patients who are held out here."""

from collections.abc import Sequence
from pathlib import Path

from ich.card import card_path
from ich.errors import DataError
from ich.files import fingerprint, read_json
from ich.models.build import whole_models
from ich.workspace import Workspace


def read_origin(workspace: Workspace) -> list[dict[str, str]]:
    """Name (`file`) and `sha256` of each whole model that `train.weights` comes to, as the card keeps them.

    Raises:
        DataError: one is not there, or a card of ours beside it is of a training with another split.
    """
    files = whole_models(workspace.config.train)
    here = fingerprint(workspace.splits) if files else ""
    for path in files:
        if _splits_sha256(path) not in (None, here):
            raise DataError(
                f"train.weights: {path} was trained on another split ({card_path(path).name} beside it says so), and "
                "may know patients who are held out here; set it to imagenet, or to a model of this split"
            )
    return [{"file": path.name, "sha256": fingerprint(path)} for path in files]


def origin_note(origin: Sequence[dict[str, str]]) -> list[str]:
    """A line for the user, if the weights come from whole models."""
    if not origin:
        return []
    files = ", ".join(each["file"] for each in origin)
    return [f"weights come from {files}: whether it was trained on patients who are held out here is not known"]


def _splits_sha256(model: Path) -> str | None:
    """What a card beside a model says; a card is of the .keras file of that name, so only this is read of it."""
    try:
        training = read_json(card_path(model))["training"]
        return str(training["splits_sha256"])
    except (DataError, KeyError, TypeError):  # no card, or other JSON
        return None
