"""Stage by stage, phase by phase, epoch by epoch: what `train` does, and where it goes on after it was killed."""

import itertools
import math
import time
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ich.config import Experiment, Phase
from ich.data import Manifest
from ich.devices import count
from ich.errors import DataError, IchError
from ich.files import read_json, write_json
from ich.labels import Label
from ich.models.build import Networks, set_trainable, start_stage2_from_gate
from ich.models.forward import compile_forward
from ich.progress import progress_bar
from ich.training.batches import Chances, epoch_rows, on_device, training_batches
from ich.training.best import Best, save
from ich.training.checkpoint import Checkpoint, Checkpoints
from ich.training.compiled import compile_step
from ich.training.epoch import Epoch, NotFinite, run_epoch
from ich.training.finished import FinishedStages
from ich.training.phases import Stage, stages
from ich.training.processes import refuse_disagreement, wait_for_all
from ich.training.sampling import priors
from ich.training.schedule import Schedule
from ich.training.stage_record import StageRecord
from ich.training.step import Learner, adam, arrays, assign
from ich.training.validation import Validation, scores
from ich.training.watch import History, Row
from ich.workspace import NOT_FINITE, Workspace
from ich.xla import cache_folder


@dataclass(frozen=True)
class Run:
    """What all stages of a training share.

    Attributes:
        config: of the experiment; its batch size is a number.
        networks: that are trained.
        train: slices to learn from.
        val: slices to validate on.
        history: of all stages; None in a process that writes nothing, since another of the same training does.
        checkpoints: of this training.
        console: for the user.
    """

    config: Experiment
    networks: Networks
    train: Manifest
    val: Manifest
    history: History | None
    checkpoints: Checkpoints
    console: Console

    @property
    def workspace(self) -> Workspace:
        """Where things are."""
        return Workspace(self.config)

    def tell(self, message: str) -> None:
        """A line for the user."""
        tell(self.console, message)


@dataclass(frozen=True)
class StageFit:
    """What all phases of a stage share; `record` is None in a process that writes nothing."""

    run: Run
    stage: Stage
    slices: Manifest
    targets: NDArray[np.uint8]
    chances: Chances
    validation: Validation
    best: Best
    record: StageRecord | None


def tell(console: Console, message: str) -> None:
    """A line for the user, as it is."""
    console.print(message, soft_wrap=True, highlight=False, markup=False)


def fit_stages(run: Run, finished: FinishedStages) -> dict[str, dict[str, Any]]:
    """Train all stages in order, but for those that are finished already; what `fit_stage` says of each."""
    config, networks, trained = run.config.train, run.networks, {}
    for stage in stages(config):
        if stage.name in finished.results:
            finished.restore(stage, getattr(networks, stage.part), networks.final)
            trained[stage.name] = finished.results[stage.name]
            run.tell(f"{stage.name}: trained before the interruption, {trained[stage.name]['epochs']} epochs")
            continue
        if stage.part == "subtypes" and config.stage2_start == "gate":
            start_stage2_from_gate(networks)
        trained[stage.name] = fit_stage(run, stage)
        if run.history is not None:
            finished.add(stage, trained[stage.name], networks.final)
            run.checkpoints.clear()
    return trained


def fit_stage(run: Run, stage: Stage) -> dict[str, Any]:
    """Train one stage through its phases; its network ends with the best weights of all of them.

    A phase starts from the best weights so far, and its own best replaces them only if it is better.

    Returns:
        For the card: slices, positives of each label, their priors, epochs done, the best validation loss, notes.
    """
    slices, targets = stage.select(run.train, "training")
    network: keras.Model = getattr(run.networks, stage.part)
    path = run.workspace.models / f"{stage.checkpoint}.keras"
    best = Best(network, path if run.history else None)
    validation = _validation(run, stage, network)
    found = run.checkpoints.newest(stage.name)
    epoch, first_phase = (found.progress.epoch, found.progress.phase) if found else (0, 0)
    refuse_disagreement({"the checkpoint to go on from": f"{stage.name} {epoch} {found and found.sha256}"})
    if found is not None:
        run.tell(f"{stage.name}: goes on after epoch {epoch}, from its checkpoint")
        best.take_over(found.progress.best_loss, found.best)
    elif stage.compare_with_start:
        best.offer(validation.loss(validation.predict()))
    with _record(run, stage, validation, found) as record:
        fit = StageFit(run, stage, slices, targets, stage.chances(targets), validation, best, record)
        for index in range(first_phase, len(stage.phases)):
            epoch = fit_phase(fit, index, epoch, found if index == first_phase else None)
            best.restore()
    if run.history and run.config.train.save_h5:
        save(network, path.with_suffix(".h5"))
    return _result(fit, epoch)


def fit_phase(fit: StageFit, index: int, epoch: int, found: Checkpoint | None) -> int:
    """Train one phase with a new optimizer, or the rest of it.

    Args:
        fit: the stage.
        index: of the phase in it.
        epoch: how many the stage has had.
        found: what to go on from, where the phase was cut off.

    Returns:
        How many epochs the stage has had then.
    """
    run, phase = fit.run, fit.stage.phases[index]
    config = run.config.train
    shape = batch_shape(len(fit.slices), config.images_together, config.accumulation)
    steps = len(fit.slices) // math.prod(shape)
    schedule = Schedule(phase, config.plateau, config.early_stopping, config.schedule, steps)
    learner = learner_for(run, fit.stage, phase, fit.targets)
    if found is not None:
        assign(learner.variables, found.variables)
        schedule.restore(found.progress.schedule)
    if schedule.is_over:
        return epoch
    made = training_batches(
        fit.slices, fit.targets, run.config.preprocess.size, shape, config.augmentation, run.config.seed, epoch,
        chances=fit.chances,
    )  # fmt: skip
    with closing(on_device(made)) as batches:
        first = next(batches)
        started = time.perf_counter()
        program = [run.checkpoints.training, fit.stage.name, index]
        step, was_there = compile_step(learner, first, cache_folder(), program)
        wait_for_all("compiled")  # else the first epoch's images/s would be of who waits for whom
        how = "loaded" if was_there else "compiled"
        run.tell(f"{fit.stage.name}, {phase.name}: {how} in {time.perf_counter() - started:.1f} s")
        ready = itertools.chain([first], batches)
        del first
        while not schedule.is_over:
            rows = epoch_rows(len(fit.slices), shape, run.config.seed, epoch, fit.chances)
            started = time.perf_counter()
            try:
                with progress_bar(f"{fit.stage.name}, {phase.name}, epoch {epoch + 1}", len(rows)) as advance:
                    state, told = run_epoch(step, learner.state(), ready, len(rows), schedule.rate_at, advance)
            except NotFinite as error:
                raise _not_finite(fit, phase, epoch, error, rows) from error
            learner.store(state)
            epoch += 1
            after_epoch(fit, index, epoch, schedule, learner, told, fit.targets[rows.ravel()], started)
    return epoch


def after_epoch(
    fit: StageFit,
    index: int,
    epoch: int,
    schedule: Schedule,
    learner: Learner,
    told: Epoch,
    targets: NDArray[np.uint8],
    started: float,
) -> None:
    """Validate, keep what is best, write everything down."""
    phase, learning_rate = fit.stage.phases[index], schedule.learning_rate
    with learner.averaged():
        probabilities = fit.validation.predict()
        val_loss = fit.validation.loss(probabilities)
        if not math.isfinite(val_loss):
            _note_not_finite(fit, phase, epoch, {"validation_loss": str(val_loss)})
            raise IchError(f"{fit.stage.name}, {phase.name}: the validation loss became {val_loss}; {_REMEDY}")
        fit.best.offer(val_loss)
    schedule.after_epoch(val_loss)
    if fit.record is None:
        return
    row: Row = {"stage": fit.stage.name, "phase": phase.name, "epoch": epoch, "learning_rate": learning_rate}
    row |= {"loss": float(told.losses.mean(dtype=np.float64)), **scores(targets, told.probabilities)}
    row |= {f"val_{name}": value for name, value in scores(fit.validation.targets, probabilities).items()}
    row |= {"val_loss": val_loss, "seconds": time.perf_counter() - started}
    row |= {"images_per_s": told.images_per_s, "waiting": told.waiting / told.seconds}
    fit.record.add(row, probabilities, index, schedule, arrays(learner.variables), fit.best)


def _result(fit: StageFit, epochs: int) -> dict[str, Any]:
    """What the card says of a stage."""
    stage, targets, slices = fit.stage, fit.targets, len(fit.slices)
    natural = read_json(fit.run.workspace.splits)["splits"]["train"]
    among: Label | None = "any" if stage.part == "subtypes" else None
    return {
        "slices": slices,
        "positives": dict(zip(stage.labels, targets.sum(axis=0, dtype=int).tolist(), strict=True)),
        "priors": priors(natural, stage.labels, among, targets, fit.chances, stage.class_weights(targets)),
        "epochs": epochs,
        "val_loss": fit.best.loss,
        "notes": [
            f"{stage.name}: {label} is the same in all {slices} training slices; nothing was learnt of it"
            for label in stage.one_sided(targets)
        ],
    }


def learner_for(run: Run, stage: Stage, phase: Phase, targets: NDArray[np.uint8]) -> Learner:
    """The stage's network with what it takes to train it in this phase."""
    config = run.config.train
    network = set_trainable(run.networks, stage.part, phase.trainable)
    optimizer = adam(network.compute_dtype, config.weight_decay)
    return Learner(network, optimizer, stage.training_loss(targets), config.augmentation, config.recompute, config.ema)


def batch_shape(slices: int, batch_size: int, accumulation: int) -> tuple[int, int]:
    """(m, n) of a batch: as the config asks for, or less where there are not so many slices.

    Raises:
        DataError: there are fewer slices than devices.
    """
    together = min(batch_size, slices) // count() * count()
    if not together:
        raise DataError(
            f"{slices} training slices cannot be shared out to {count()} devices; give more data, or hide "
            "devices (CUDA_VISIBLE_DEVICES=0)"
        )
    return min(accumulation, slices // together), together


_REMEDY = "lower the phase's learning_rate, or set train.precision: float32, and train again"


def _not_finite(fit: StageFit, phase: Phase, epoch: int, error: NotFinite, rows: NDArray[np.intp]) -> IchError:
    """The error that ends the training, and a file beside history.csv that names the images of the step.

    And those of the step before it: if its gradients overflowed, its own loss was still finite.
    """
    images = [fit.slices.ids[row] for row in rows[error.step]]
    before = [fit.slices.ids[row] for row in rows[error.step - 1]] if error.step else []
    told = {"step": error.step + 1, "loss": str(error.loss), "images": images, "images_of_the_step_before": before}
    path = _note_not_finite(fit, phase, epoch + 1, told)
    return IchError(
        f"{fit.stage.name}, {phase.name}: the training loss became {error.loss} in step {error.step + 1} of epoch "
        f"{epoch + 1}, of {len(images)} images ({images[0]} ...; all of them, and those of the step "
        f"before, in {path}); {_REMEDY}"
    )


def _note_not_finite(fit: StageFit, phase: Phase, epoch: int, told: dict[str, Any]) -> Path:
    path: Path = fit.run.workspace.run / NOT_FINITE
    if fit.record is not None:
        write_json(path, {"stage": fit.stage.name, "phase": phase.name, "epoch": epoch, **told})
    return path


def _record(
    run: Run, stage: Stage, validation: Validation, found: Checkpoint | None
) -> AbstractContextManager[StageRecord | None]:
    if run.history is None:
        return nullcontext()
    where = run.workspace, run.console
    return closing(StageRecord.begin(stage, validation, run.history, run.checkpoints, found, *where))


def _validation(run: Run, stage: Stage, network: keras.Model) -> Validation:
    slices, targets = stage.select(run.val, "validation")
    size, batch_size = run.config.preprocess.size, run.config.train.images_together
    return Validation(compile_forward(network, shared=True), slices, targets, stage.label_weights, size, batch_size)
