"""Which stages of a training are finished, so that one that was cut off continues with the stage it was in."""

import hashlib
import json
from typing import Any

import keras
import numpy as np
import polars as pl

from ich import __version__
from ich.errors import DataError
from ich.files import fingerprint, read_json, read_parquet, write_json
from ich.labels import IMAGE_ID
from ich.models.build import weight_files
from ich.neighbours import PLACE_SCHEMA
from ich.training.phases import Stage
from ich.workspace import Workspace


class FinishedStages:
    """runs/<name>/finished_stages.json: there from the first finished stage of a training to its end.

    A stage counts as finished only for a training with the same settings, tables and precision, and only while its
    checkpoint is the file that it left.

    Attributes:
        key: of the training: hash of all that its weights depend on.
        results: stage -> what `ich.training.fit.fit_stage` returned, in the order of the stages.
    """

    def __init__(self, workspace: Workspace, precision: str) -> None:
        self.path, self._models = workspace.run / "finished_stages.json", workspace.models
        self.key = _training_key(workspace, precision)
        self._stages: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            self._stages = self._believed()

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """See the class."""
        return {name: entry["result"] for name, entry in self._stages.items()}

    def add(self, stage: Stage, result: dict[str, Any], model: keras.Model) -> None:
        """Note a finished stage.

        Args:
            stage: just trained; its best weights are in `model` and in its checkpoint.
            result: of `fit_stage`.
            model: the whole model, whose layers draw random numbers (dropout).
        """
        checkpoint = f"{stage.checkpoint}.keras"
        self._stages[stage.name] = {
            "result": result,
            "checkpoint": checkpoint,
            "sha256": fingerprint(self._models / checkpoint),
            "random_states": [np.asarray(state).tolist() for state in _random_states(model)],
        }
        write_json(self.path, {"training": self.key, "stages": self._stages})

    def restore(self, stage: Stage, network: keras.Model, model: keras.Model) -> None:
        """Bring the stage's network, and the random numbers of the whole model, to where the stage left them."""
        entry = self._stages[stage.name]
        network.load_weights(self._models / entry["checkpoint"])
        for state, value in zip(_random_states(model), entry["random_states"], strict=True):
            state.assign(value)

    def forget(self) -> None:
        """The training is over, or begins anew."""
        self._stages = {}
        self.path.unlink(missing_ok=True)

    def _believed(self) -> dict[str, dict[str, Any]]:
        """The stages up to the first whose checkpoint has changed; none of a damaged file or of another training."""
        try:
            content = read_json(self.path)
        except DataError:
            return {}
        stages: dict[str, dict[str, Any]] = {}
        if not isinstance(content, dict) or content.get("training") != self.key:
            return stages
        for name, entry in content["stages"].items():
            checkpoint = self._models / entry["checkpoint"]
            if not checkpoint.is_file() or fingerprint(checkpoint) != entry["sha256"]:
                break
            stages[name] = entry
        return stages


def _training_key(workspace: Workspace, precision: str) -> str:
    """Hash of settings, tables, and the bytes of images and weights; of no path, so that a workspace can be moved."""
    config = workspace.config.model_dump(mode="json", by_alias=True)
    settings = {name: config[name] for name in ("seed", "train", "preprocess", "augment", "names")}
    del settings["train"]["gate"], settings["preprocess"]["workers"]  # the one is chosen later, the other of no effect
    # By their bytes: all models of one architecture have the same size.
    settings["weight files"] = [fingerprint(path) for path in weight_files(workspace.config.train)]
    files = [workspace.splits, *(workspace.table(split) for split in ("train", "val"))]
    hashes = [fingerprint(file) for file in files if file.exists()]
    if workspace.slices.exists():
        beside = PLACE_SCHEMA if workspace.config.train.input == "neighbours" else {}
        images = read_parquet(workspace.slices, {IMAGE_ID: pl.String, "png_sha256": pl.String, **beside})
        hashes.append(hashlib.sha256(images.write_csv().encode()).hexdigest())
    content = [__version__, keras.backend.backend(), precision, settings, hashes]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _random_states(model: keras.Model) -> list[keras.Variable]:
    """States of the generators that dropout draws from; the model's weights do not hold them."""
    weights = {id(weight) for weight in model.weights}
    return [variable for variable in model.variables if id(variable) not in weights]
