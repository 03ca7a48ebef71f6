"""Which models are evaluated: the workspace's own, or those that `evaluate.models` names, if they may be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ich.card import IMAGE_KEYS, Card
from ich.errors import DataError
from ich.files import fingerprint
from ich.workspace import Workspace


def files(workspace: Workspace) -> tuple[Path, ...]:
    """The models whose mean is evaluated; most often one, that which was trained here."""
    return workspace.config.evaluate.models or (workspace.final_model,)


def describe(cards: Sequence[Card], workspace: Workspace) -> list[dict[str, Any]]:
    """What the report says of each of `files`: file, kind, SHA-256, training run, what that started from, and gate."""
    return [
        {
            "file": path.name,
            "model": card.model,
            "sha256": card.file_sha256,
            "run": card.training.get("run"),
            "weights": card.training.get("weights", []),
            "gate": None if card.gate is None else {"threshold": card.gate.threshold, "chosen": card.gate.chosen},
        }
        for path, card in zip(files(workspace), cards, strict=True)
    ]


def refuse_unfit(cards: Sequence[Card], workspace: Workspace) -> None:
    """Check that models which were named may be evaluated here, under this name.

    Only the split decides what a model may be tested on; how it was trained on the rest is its own affair.

    Raises:
        DataError: the name is that of a training, or a model may have seen what is held out, or sees other images.
    """
    refuse_name_of_a_training(workspace)
    config = workspace.config
    for path, card in zip(files(workspace), cards, strict=True):
        if card.training.get("splits_sha256") != fingerprint(workspace.splits):
            raise DataError(
                f"{path} was trained with another {workspace.splits.name}: what is held out here may have been trained "
                "on; leave it out of evaluate.models (`ich predict` takes it)"
            )
        for key in IMAGE_KEYS:
            section = config.preprocess if hasattr(config.preprocess, key) else config.train
            here = getattr(section, key)
            if getattr(card, key) != here:
                raise DataError(
                    f"{path} was trained with {key} {getattr(card, key)}, the images here have {here}; leave it out of "
                    "evaluate.models, or evaluate it in a workspace of such images"
                )


def refuse_name_of_a_training(workspace: Workspace) -> None:
    """Beside the history of a training lies its report, which must not become that of other models."""
    given = "models" if workspace.config.evaluate.models else "predictions"
    if any((workspace.run / file).exists() for file in ("config.json", "history.csv")):
        raise DataError(
            f"evaluate.{given} are given, but {workspace.run} is of a training, whose predictions and report theirs "
            "would replace; give the evaluation a name of its own, e.g. --name mean"
        )
