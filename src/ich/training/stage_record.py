"""What is written down of a stage while it trains: history.csv, TensorBoard, checkpoints, a line an epoch."""

import shutil
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ich.training.best import Best
from ich.training.checkpoint import Arrays, Checkpoint, Checkpoints, Progress
from ich.training.phases import Stage
from ich.training.samples import sample_rows, sample_table
from ich.training.schedule import Schedule
from ich.training.validation import Validation, label_aucs
from ich.training.watch import Events, History, Row, print_epoch
from ich.workspace import Workspace


@dataclass(frozen=True)
class StageRecord:
    """The record of a stage, in the process that writes.

    Attributes:
        stage: that trains.
        validation: its slices.
        history: of all stages.
        checkpoints: of the training.
        events: of the stage.
        console: for the line an epoch.
    """

    stage: Stage
    validation: Validation
    history: History
    checkpoints: Checkpoints
    events: Events
    console: Console

    @classmethod
    def begin(
        cls,
        stage: Stage,
        validation: Validation,
        history: History,
        checkpoints: Checkpoints,
        found: Checkpoint | None,
        workspace: Workspace,
        console: Console,
    ) -> "StageRecord":
        """Begin anew, or go on where a checkpoint that was found ends."""
        folder = workspace.run / "tensorboard" / stage.name
        if found is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            history.extend(found.progress.history)
        events = Events(folder, found.progress.epoch if found else 0)
        record = cls(stage, validation, history, checkpoints, events, console)
        if found is None:
            slices, rows = validation.slices, sample_rows(validation.targets)
            events.show_samples([slices.ids[row] for row in rows], slices.read(rows, validation.size))
        return record

    def add(
        self,
        row: Row,
        probabilities: NDArray[np.float32],
        phase: int,
        schedule: Schedule,
        variables: Arrays,
        best: Best,
    ) -> None:
        """Write an epoch down; last of all the checkpoint, which says that it is done.

        Args:
            row: of the history.
            probabilities: (n, k) of the validation slices.
            phase: index of the phase in the stage.
            schedule: of the phase, after the epoch.
            variables: of network and optimizer, after the epoch.
            best: of the stage so far.
        """
        self.history.extend([row])
        aucs = label_aucs(self.validation.targets, probabilities)
        self.events.add(row, dict(zip(self.stage.labels, aucs, strict=True)))
        self.events.tell_samples(self._samples(probabilities), row["epoch"])
        rows = self.history.of_stage(self.stage.name)
        progress = Progress(self.stage.name, phase, row["epoch"], schedule.as_json(), rows, best.loss)
        self.checkpoints.write(Checkpoint(progress, variables, best.weights))
        print_epoch(self.console, row)

    def close(self) -> None:
        """Close the event files."""
        self.events.close()

    def _samples(self, probabilities: NDArray[np.float32]) -> str:
        rows = sample_rows(self.validation.targets)
        ids = [self.validation.slices.ids[row] for row in rows]
        return sample_table(ids, self.stage.labels, self.validation.targets[rows], probabilities[rows])
