"""Step 6: train the networks of `train.model`, stage by stage and phase by phase, and save them with their card."""

import shutil
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ich.card import Card, Gate, read_card, write_card
from ich.config import Experiment, Phase, Train
from ich.cpu_memory import keep_freed_memory
from ich.data import Manifest, read_manifest
from ich.errors import DataError, IchError
from ich.files import fingerprint, read_json, write_json
from ich.labels import LABELS, Label
from ich.models.build import Networks, build, set_trainable, start_stage2_from_gate
from ich.precision import computes_on_cpu, resolve_precision
from ich.training.callbacks import Bar, Best, History, Record, StopOnNonsense, Validation, save
from ich.training.finished import FinishedStages
from ich.training.gating import choose_gate, conditional_prevalence
from ich.training.learner import Learner, training_batches
from ich.training.phases import Stage, stages
from ich.workspace import Outcome, Workspace, provenance


@dataclass(frozen=True)
class Run:
    """What all stages of a training run share."""

    config: Experiment
    networks: Networks
    train: Manifest
    val: Manifest
    history: History
    console: Console

    @property
    def workspace(self) -> Workspace:
        """Where things are."""
        return Workspace(self.config)


def train(config: Experiment) -> Outcome:
    """Train the model of `train.model` on the training split, with the validation split to choose by.

    Writes models/stage1_best.keras, stage2_best.keras, cascade_final.keras and its card (flat models: <model>_best and
    <model>_final), and runs/<name>/ with config.json, history.csv and TensorBoard events. A training that was cut off
    continues with the stage it was in, if settings and data are the same; of one that was finished, only the gate's
    threshold is chosen again. The final model of an earlier training stays until this one's is saved.

    Raises:
        ConfigError: a network cannot be built as named.
        DataError: tables, images, splits.json or weights are not there or do not fit.
        IchError: the loss became infinite or undefined.
    """
    workspace = Workspace(config)
    slices = {split: read_manifest(workspace.table(split), workspace.images(split)) for split in ("train", "val")}
    prevalence = conditional_prevalence(read_json(workspace.splits))
    precision = resolve_precision(config.train.precision)
    final, console = workspace.final_model, Console(stderr=True)
    if computes_on_cpu():
        keep_freed_memory()
    with dtype_policy(precision):
        networks = build(config.train, config.preprocess.size, config.seed)
        finished = FinishedStages(workspace, precision)
        trained = finished_training(workspace, finished.key)
        kept = trained or finished.results
        start_run(workspace, kept)
        run = Run(config, networks, **slices, history=History(workspace.run / "history.csv", kept), console=console)
        if trained:
            networks.final.load_weights(final)
            told = f"{final} is of this very training: only the gate is chosen anew (delete it to train again)"
            console.print(told, soft_wrap=True, highlight=False, markup=False)
        else:
            trained = fit_stages(run, finished)
        gate = _gate(run)
    forget_results(workspace)
    if kept is not trained:
        save_model(networks.final, final, config.train.save_h5)
    training = {"key": finished.key, "precision": precision, "stages": trained, "files": _fingerprints(workspace)}
    card = write_card(final, _card(config, final, gate, prevalence, training))
    finished.forget()
    notes = [note for stage in trained.values() for note in stage["notes"]]
    if gate is not None and config.train.gate.threshold == "validation" and not gate.threshold:
        notes.append("the gate keeps no slice from stage 2: its threshold is 0 (train.gate.max_missed allows no other)")
    return Outcome(_counts(run, trained, gate), [final, card, run.history.path, *_checkpoints(workspace)], notes=notes)


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


def fit_stages(run: Run, finished: FinishedStages) -> dict[str, dict[str, Any]]:
    """Train all stages in order, but for those that are finished already; what `fit_stage` says of each."""
    config, networks, trained = run.config.train, run.networks, {}
    for stage in stages(config):
        if stage.name in finished.results:
            finished.restore(stage, getattr(networks, stage.part), networks.final)
            trained[stage.name] = finished.results[stage.name]
            run.console.print(f"{stage.name}: trained before the interruption, {trained[stage.name]['epochs']} epochs")
            continue
        if stage.part == "subtypes" and config.stage2_start == "gate":
            start_stage2_from_gate(networks)
        trained[stage.name] = fit_stage(run, stage)
        finished.add(stage, trained[stage.name], networks.final)
    return trained


def fit_stage(run: Run, stage: Stage) -> dict[str, Any]:
    """Train one stage through its phases; its network ends with the best weights of all of them.

    A phase starts from the best weights so far, and its own best replaces them only if it is better.

    Returns:
        For the card: slices, positives of each label, epochs done, the best validation loss, notes.
    """
    config, size = run.config.train, run.config.preprocess.size
    slices, targets = stage.select(run.train, "training")
    network: keras.Model = getattr(run.networks, stage.part)
    path = run.workspace.models / f"{stage.checkpoint}.keras" if stage.checkpoint else None
    validation = Validation(network, *stage.select(run.val, "validation"), stage.label_weights, size, config.batch_size)
    best = Best(network, path)
    if stage.compare_with_start:
        best.offer(validation.measure()["loss"])
    epoch = 0
    for phase in stage.phases:
        epoch = fit_phase(run, stage, phase, slices, targets, epoch, validation, best)
        best.restore()
    if path is not None and config.save_h5:
        save(network, path.with_suffix(".h5"))
    return {
        "slices": len(slices),
        "positives": dict(zip(stage.labels, targets.sum(axis=0, dtype=int).tolist(), strict=True)),
        "epochs": epoch,
        "val_loss": best.loss,
        "notes": [
            f"{stage.name}: {label} is the same in all {len(slices)} training slices; nothing was learnt of it"
            for label in stage.one_sided(targets)
        ],
    }


def fit_phase(
    run: Run,
    stage: Stage,
    phase: Phase,
    slices: Manifest,
    targets: NDArray[np.uint8],
    first_epoch: int,
    validation: Validation,
    best: Best,
) -> int:
    """Train one phase with a new optimizer, and return the number of epochs that the stage has had by then."""
    config, plateau = run.config.train, run.config.train.plateau
    batch_size = min(config.batch_size, len(slices))
    learner = compiled_learner(set_trainable(run.networks, stage.part, phase.trainable), stage, phase, targets, config)
    where = f"{stage.name}, {phase.name}"
    batches = training_batches(
        slices, targets, run.config.preprocess.size, batch_size, config.augmentation, run.config.seed, first_epoch
    )
    record = Record(stage.name, phase.name, batch_size, run.history, run.workspace.run / "tensorboard", run.console)
    bar = Bar(where)
    callbacks = [
        bar,
        validation,  # first of all that read the logs: it completes them
        StopOnNonsense(where),
        best,
        record,
        keras.callbacks.EarlyStopping(patience=config.early_stopping.patience),
        keras.callbacks.ReduceLROnPlateau(
            factor=plateau.factor, patience=plateau.patience, min_lr=plateau.min_learning_rate
        ),
    ]
    with closing(batches), closing(bar), closing(record):
        fitted = learner.fit(
            batches,
            shuffle=False,  # the batches are shuffled already
            steps_per_epoch=len(slices) // batch_size,
            initial_epoch=first_epoch,
            epochs=first_epoch + phase.epochs,
            verbose=0,
            callbacks=callbacks,
        )
    return first_epoch + len(fitted.epoch)


def compiled_learner(
    network: keras.Model, stage: Stage, phase: Phase, targets: NDArray[np.uint8], config: Train
) -> Learner:
    """The network with its loss, optimizer and metrics.

    Raises:
        IchError: it would not run under XLA: Keras switches that off, silently, for models with certain random layers.
    """
    learner = Learner(network, config.augmentation)
    learner.compile(
        keras.optimizers.Adam(
            phase.learning_rate, gradient_accumulation_steps=config.accumulation if config.accumulation > 1 else None
        ),
        loss=stage.training_loss(targets),
        # In the compiled step: 0.7 s of its 12 s of compilation (demo's gate, CPU).
        metrics=[
            keras.metrics.BinaryAccuracy(name="accuracy"),
            keras.metrics.Precision(name="precision"),
            keras.metrics.Recall(name="recall"),
            keras.metrics.AUC(multi_label=True, num_labels=len(stage.labels), name="auc"),
        ],
    )
    if not learner.jit_compile:
        raise IchError(f"{stage.name}: a layer of {network.name} does not run under XLA; take it out of the network")
    return learner


def start_run(workspace: Workspace, finished: Collection[str]) -> None:
    """Lay out runs/<name>/: TensorBoard events of finished stages are kept, those of any other are removed.

    So are models that a killed run was writing.
    """
    for events in (workspace.run / "tensorboard").glob("*"):
        if events.name not in finished:
            shutil.rmtree(events)
    for path in (workspace.final_model, *_checkpoints(workspace)):
        for half_written in workspace.models.glob(f".{path.stem}.*"):
            half_written.unlink()
    write_json(workspace.run / "config.json", workspace.config.model_dump(mode="json", by_alias=True))


def forget_results(workspace: Workspace) -> None:
    """Remove what was found about the earlier final model, as the new one is about to take its place."""
    shutil.rmtree(workspace.report, ignore_errors=True)
    workspace.predictions.unlink(missing_ok=True)


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
    return choose_gate(config.train.gate, run.networks.gate, run.val, config.preprocess.size, config.train.batch_size)


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
    names = (stage.checkpoint for stage in stages(workspace.config.train))
    return [workspace.models / f"{name}.keras" for name in names if name]


def _files(workspace: Workspace) -> list[Path]:
    return [*_checkpoints(workspace), workspace.run / "history.csv"]


def _fingerprints(workspace: Workspace) -> dict[str, str]:
    return {path.name: fingerprint(path) for path in _files(workspace)}
