"""Step 6: train the networks of `train.model`, stage by stage and phase by phase, and save them with their card."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import keras
from rich.console import Console

from ich.calibration import calibration_path
from ich.card import Card, Gate, read_card, write_card
from ich.config import Experiment
from ich.cpu_memory import keep_freed_memory
from ich.devices import is_first_process, refuse_unequal_shares
from ich.errors import DataError, IchError
from ich.files import fingerprint, read_json, write_json
from ich.keras_backend import keep_compiled_in
from ich.labels import LABELS, Label
from ich.models.build import build
from ich.neighbours import read_slices, without_image
from ich.precision import computes_on_cpu, resolve_precision
from ich.training.batch_size import with_batch_size
from ich.training.best import save
from ich.training.checkpoint import Checkpoints
from ich.training.finished import FinishedStages
from ich.training.fit import Run, fit_stages, tell
from ich.training.gating import choose_gate, conditional_prevalence
from ich.training.origin import origin_note, read_origin
from ich.training.phases import stages
from ich.training.processes import first_process_first, refuse_disagreement
from ich.training.watch import History
from ich.workspace import NOT_FINITE, Outcome, Workspace, provenance


def train(config: Experiment) -> Outcome:
    """Train the model of `train.model` on the training split, with the validation split to choose by.

    Writes models/stage1_best.keras, stage2_best.keras, end_to_end_best.keras, cascade_final.keras and its card (flat
    models: <model>_best and <model>_final), and runs/<name>/ with config.json, history.csv and TensorBoard events. A
    training that was cut off continues after the last epoch that it finished, to the same weights, if settings and data
    are the same; of one that was finished, only the gate's threshold is chosen again. The final model of an earlier
    training stays until this one's is saved.

    Raises:
        ConfigError: a network cannot be built as named, or the devices cannot share a batch.
        DataError: tables, images, splits.json or weights are not there or do not fit.
        IchError: the loss became infinite or undefined; Keras's backend is not JAX.
    """
    refuse_other_backends()
    workspace = Workspace(config)
    refuse_models_of_another_run(workspace)
    slices = {"train": read_slices(workspace, "train"), "val": read_slices(workspace, "val")}
    notes = without_image(workspace) if config.train.input == "neighbours" else []
    conditional_prevalence(read_json(workspace.splits))  # which the card needs: better refused now than at the end
    origin = read_origin(workspace)
    notes += origin_note(origin)
    precision = resolve_precision(config.train.precision)
    writes = is_first_process()
    console = Console(stderr=True, quiet=not writes)
    keep_compiled_in(workspace.compiled)
    if computes_on_cpu():
        keep_freed_memory()
    with dtype_policy(precision):
        with first_process_first():  # which fetches the weights
            networks = build(config.train, config.preprocess.size, config.seed)
        for line in networks.loaded:
            tell(console, line)
        config = with_batch_size(config, networks, slices["train"], lambda message: tell(console, message), keep=writes)
        refuse_unequal_shares(config.train.images_together)
        workspace = Workspace(config)
        finished = FinishedStages(workspace, precision)
        trained = finished_training(workspace, finished.key)
        kept = trained or finished.results
        # Another Keras or JAX may have other variables, and rounds otherwise.
        exactly = f"{finished.key} keras {keras.__version__} jax {jax.__version__}"
        refuse_disagreement({
            "settings, tables, images or versions": exactly, "which stages are finished": ", ".join(kept),
        })  # fmt: skip
        checkpoints = Checkpoints(workspace.checkpoints, exactly, lambda message: tell(console, message))
        history = None
        if writes:
            start_run(workspace, {*kept, *checkpoints.stages()})
            history = History(workspace.run / "history.csv", kept)
        run = Run(config, networks, **slices, history=history, checkpoints=checkpoints, console=console)
        if trained:
            networks.final.load_weights(workspace.final_model)
            whole = f"{workspace.final_model} is of this very training"
            run.tell(f"{whole}: only the gate is chosen anew (delete it to train again)")
        else:
            trained = fit_stages(run, finished)
        gate = _gate(run)
    if not writes:
        return Outcome()  # the process that writes tells
    facts = {"key": finished.key, "precision": precision, "weights": origin}
    outcome = _finish(run, facts, trained, gate, save=kept is not trained)
    finished.forget()
    checkpoints.clear()
    return replace(outcome, notes=notes + outcome.notes)


def refuse_other_backends() -> None:
    """Raise IchError if Keras's backend is not JAX."""
    if keras.backend.backend() != "jax":
        raise IchError(f"train computes with JAX, but KERAS_BACKEND is {keras.backend.backend()}; unset it")


def refuse_models_of_another_run(workspace: Workspace) -> None:
    """A folder in models/ is a run's own; models/ itself has the last training's.

    Raises:
        DataError: the folder has those of another run.
    """
    if workspace.config.model_folder == "models":
        return
    for path in workspace.models.glob("*_final.json"):
        content = read_json(path)
        run = content.get("training", {}).get("run") if isinstance(content, dict) else None
        if run != workspace.config.name:
            raise DataError(
                f"{workspace.models} holds the models of run {run}, which would be lost; choose another model_folder"
            )


def finished_training(workspace: Workspace, key: str) -> dict[str, dict[str, Any]] | None:
    """What the final model's card says of its stages, if it is of the training with this key and nothing is lost."""
    try:
        training = read_card(workspace.final_model).training
    except DataError:  # no model, or not the card's
        return None
    if (training.get("key"), training.get("run")) != (key, workspace.config.name):
        return None
    is_whole = all(path.is_file() for path in _files(workspace)) and training.get("files") == _fingerprints(workspace)
    return training["stages"] if is_whole else None


def start_run(workspace: Workspace, kept: Collection[str]) -> None:
    """Lay out runs/<name>/: TensorBoard events of stages that are `kept` stay, those of any other are removed.

    So are models that a killed run was writing.
    """
    for events in (workspace.run / "tensorboard").glob("*"):
        if events.name not in kept:
            shutil.rmtree(events)
    for path in (workspace.final_model, *_checkpoints(workspace)):
        for half_written in workspace.models.glob(f".{path.stem}.*"):
            half_written.unlink()
    (workspace.run / NOT_FINITE).unlink(missing_ok=True)
    workspace.models.mkdir(parents=True, exist_ok=True)  # now, if it cannot be
    write_json(workspace.run / "config.json", workspace.config.model_dump(mode="json", by_alias=True))


def _finish(
    run: Run, facts: dict[str, Any], trained: dict[str, dict[str, Any]], gate: Gate | None, *, save: bool
) -> Outcome:
    """Put the final model, if it is to be saved, and its card in the place of those of an earlier training."""
    config, workspace, final = run.config, run.workspace, run.workspace.final_model
    forget_results(workspace)
    if save:
        save_model(run.networks.final, final, config.train.save_h5)
    training = {
        **facts, "parameters": run.networks.final.count_params(), "stages": trained,
        "files": _fingerprints(workspace),
    }  # fmt: skip
    prevalence = conditional_prevalence(read_json(workspace.splits))
    card = write_card(final, _card(config, final, gate, prevalence, training))
    notes = [note for stage in trained.values() for note in stage["notes"]]
    if gate is not None and config.train.gate.threshold == "validation" and not gate.threshold:
        notes.append("the gate keeps no slice from stage 2: its threshold is 0 (train.gate.max_missed allows no other)")
    outputs = [final, card, workspace.run / "history.csv", *_checkpoints(workspace)]
    return Outcome(_counts(run, trained, gate), outputs, notes=notes)


def forget_results(workspace: Workspace) -> None:
    """Remove what was found about the earlier final model, as the new one is about to take its place."""
    shutil.rmtree(workspace.report, ignore_errors=True)
    workspace.predictions.unlink(missing_ok=True)
    calibration_path(workspace.final_model).unlink(missing_ok=True)


def save_model(network: keras.Model, path: Path, h5: bool) -> None:
    """Save the final model, as .h5 too where it is asked for; else none of an earlier model stays beside it."""
    path.with_suffix(".h5").unlink(missing_ok=True)
    save(network, path)
    if h5:
        save(network, path.with_suffix(".h5"))


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Keras's global dtype policy for the duration of a block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _gate(run: Run) -> Gate | None:
    """The gate of a cascade; None for a flat model."""
    config = run.config
    if run.networks.gate is None:
        return None
    return choose_gate(
        config.train.gate, run.networks.gate, run.val, config.preprocess.size, config.train.images_together
    )


def _card(
    config: Experiment, model: Path, gate: Gate | None, prevalence: dict[Label, float], training: dict[str, Any]
) -> Card:
    return Card(
        model=config.train.model,
        file_sha256=fingerprint(model),
        labels=LABELS,
        windows=config.preprocess.windows,
        size=config.preprocess.size,
        aspect=config.preprocess.aspect,
        input=config.train.input,
        neighbours_window=config.train.neighbours_window,
        gate=gate,
        conditional_prevalence=prevalence,
        training={
            "run": config.name, "seed": config.seed, "splits_sha256": fingerprint(Workspace(config).splits), **training,
        },
        config=config.model_dump(mode="json", by_alias=True),
        provenance=provenance(),
    )  # fmt: skip


def _counts(run: Run, trained: dict[str, dict[str, Any]], gate: Gate | None) -> dict[str, Any]:
    losses = {f"{name} validation loss": round(stage["val_loss"], 4) for name, stage in trained.items()}
    threshold = {"gate threshold": round(gate.threshold, 4)} if gate else {}
    return {"training slices": len(run.train), "validation slices": len(run.val)} | losses | threshold


def _checkpoints(workspace: Workspace) -> list[Path]:
    return [workspace.models / f"{stage.checkpoint}.keras" for stage in stages(workspace.config.train)]


def _files(workspace: Workspace) -> list[Path]:
    return [*_checkpoints(workspace), workspace.run / "history.csv"]


def _fingerprints(workspace: Workspace) -> dict[str, str]:
    return {path.name: fingerprint(path) for path in _files(workspace)}
