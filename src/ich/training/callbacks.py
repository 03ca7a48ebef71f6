"""What happens at the end of an epoch: validation, history, TensorBoard, the best weights, stopping on nonsense.

Keras's own EarlyStopping and ReduceLROnPlateau follow after these. Nothing here makes training wait for a batch: what
looks at batches is `async_safe`, so Keras calls it in another thread (waiting cost 12 % of the images/s on a H100).
"""

import csv
import errno
import io
import math
import os
import time
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from sklearn.metrics import roc_auc_score
from tensorboardX import SummaryWriter

from ich.data import Manifest
from ich.errors import IchError
from ich.files import atomic, write_text
from ich.progress import progress_bar
from ich.training.learner import predict
from ich.training.losses import binary_crossentropy

Logs = dict[str, Any]

METRICS = ("loss", "accuracy", "precision", "recall", "auc")
COLUMNS = (
    "stage",
    "phase",
    "epoch",
    "learning_rate",
    *METRICS,
    *(f"val_{name}" for name in METRICS),
    "seconds",
    "images_per_s",
)


def scores(targets: NDArray[np.integer], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Accuracy, precision and recall at 0.5 over all labels together, and the mean of the labels' AUC.

    Args:
        targets: (n, k) 0 or 1.
        probabilities: (n, k) in [0, 1].

    Returns:
        Four numbers. NaN: precision where nothing is called positive, recall without positives, AUC where no label has
        both classes (labels that lack one are left out of the mean).
    """
    truth, called = targets == 1, probabilities >= 0.5
    hits = int((truth & called).sum())
    aucs = [roc_auc_score(y, p) for y, p in zip(truth.T, probabilities.T, strict=True) if y.any() and not y.all()]
    return {
        "accuracy": float((truth == called).mean()),
        "precision": hits / int(called.sum()) if called.any() else math.nan,
        "recall": hits / int(truth.sum()) if truth.any() else math.nan,
        "auc": float(np.mean(aucs)) if aucs else math.nan,
    }


class Validation(keras.callbacks.Callback):
    """Adds val_loss (no class weights) and the other scores to the logs, each slice counted once.

    From predictions and not by `evaluate`: it compiles the one function that choosing the gate's threshold needs too,
    and the scores are exact.
    """

    def __init__(
        self,
        network: keras.Model,
        slices: Manifest,
        targets: NDArray[np.integer],
        label_weights: NDArray[np.float32],
        size: int,
        batch_size: int,
    ) -> None:
        super().__init__()
        self.network, self.slices, self.targets = network, slices, targets
        self.loss = binary_crossentropy(label_weights, functions=np)
        self.size, self.batch_size = size, batch_size

    def measure(self) -> dict[str, float]:
        """Loss and scores of the network as it is now."""
        with progress_bar("validation", len(self.slices)) as advance:
            probabilities = predict(self.network, self.slices, self.size, self.batch_size, advance)
        return {"loss": float(np.mean(self.loss(self.targets, probabilities))), **scores(self.targets, probabilities)}

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Complete the logs for all callbacks that follow."""
        logs["training_seconds"] = time.perf_counter() - self.started
        logs.update((f"val_{name}", value) for name, value in self.measure().items())
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        logs["seconds"] = time.perf_counter() - self.started


class StopOnNonsense(keras.callbacks.Callback):
    """Stops when the loss is not finite; looks at every batch, from another thread."""

    async_safe = True

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Check the training loss."""
        self._check("training", logs["loss"])

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Check the validation loss."""
        self._check("validation", logs["val_loss"])

    def _check(self, which: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise IchError(
                f"{self.where}: the {which} loss became {loss}; lower the phase's learning_rate, or set "
                "train.precision: float32, and train again"
            )


class Best(keras.callbacks.Callback):
    """Keeps the weights with the lowest validation loss, through all phases of a stage, and saves them at once."""

    def __init__(self, network: keras.Model, path: Path | None) -> None:
        super().__init__()
        self.network, self.path = network, path
        self.loss, self.weights = math.inf, network.get_weights()

    def offer(self, loss: float) -> None:
        """Take the network's weights if their validation loss is lower than the lowest so far."""
        if loss < self.loss:
            self.loss, self.weights = loss, self.network.get_weights()
            if self.path is not None:
                save(self.network, self.path)

    def restore(self) -> None:
        """Give the network the best weights."""
        self.network.set_weights(self.weights)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Offer the epoch's weights."""
        self.offer(logs["val_loss"])


class History:
    """history.csv: a row an epoch of every stage and phase; the file is whole after every epoch.

    Rows of the stages named in `keep` are taken over from the file as it is; all others are dropped.
    """

    def __init__(self, path: Path, keep: Collection[str] = ()) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if keep and path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if row["stage"] in keep]
        self._write()

    def add(self, stage: str, phase: str, epoch: int, logs: Logs) -> None:
        """Append an epoch (counted from 1) and write the file."""
        self.rows.append({"stage": stage, "phase": phase, "epoch": epoch, **logs})
        self._write()

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _short(value) for name, value in row.items()} for row in self.rows)
        write_text(self.path, text.getvalue())


class Record(keras.callbacks.Callback):
    """An epoch's numbers to history.csv, to TensorBoard, and as one line to standard error."""

    def __init__(
        self, stage: str, phase: str, batch_size: int, history: History, events: Path, console: Console
    ) -> None:
        super().__init__()
        self.stage, self.phase, self.batch_size = stage, phase, batch_size
        self.history, self.console = history, console
        self.writers = {part: SummaryWriter(str(events / stage / part)) for part in ("train", "validation")}

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the epoch down."""
        logs["images_per_s"] = self.params["steps"] * self.batch_size / logs["training_seconds"]
        self.history.add(self.stage, self.phase, epoch + 1, logs)
        self._write("train", {name: logs[name] for name in (*METRICS, "learning_rate")}, epoch + 1)
        self._write("validation", {name: logs[f"val_{name}"] for name in METRICS}, epoch + 1)
        self.console.print(
            f"{self.stage}, {self.phase}, epoch {epoch + 1}: loss {logs['loss']:.4f}, "
            f"validation {logs['val_loss']:.4f} (AUC {logs['val_auc']:.3f}), "
            f"{logs['seconds']:.0f} s, {logs['images_per_s']:.0f} images/s",
            highlight=False,
            soft_wrap=True,
        )

    def _write(self, part: str, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            if math.isfinite(value):
                self.writers[part].add_scalar(name, value, step)
        self.writers[part].flush()

    def close(self) -> None:
        """Close the event files."""
        for writer in self.writers.values():
            writer.close()


class Bar(keras.callbacks.Callback):
    """A progress bar of each epoch's batches on a terminal; nothing in a log."""

    async_safe = True

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title, self.stack = title, ExitStack()

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Show an empty bar."""
        self.advance = self.stack.enter_context(progress_bar(f"{self.title}, epoch {epoch + 1}", self.params["steps"]))

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Move on by one batch."""
        self.advance(1)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Take the bar away; the epoch's line follows."""
        self.close()

    def close(self) -> None:
        """Take the bar away, also when training was interrupted: it hides the cursor."""
        self.stack.close()


def save(network: keras.Model, path: Path) -> None:
    """Save a network so that the file is either whole or not there; the ending (.keras or .h5) chooses the format."""
    with atomic(path) as temporary:
        try:
            network.save(temporary)
        except RuntimeError as error:  # HDF5's, which names the system's error in its text only
            if f"errno = {errno.ENOSPC}" not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error


def _short(value: Any) -> Any:
    """Six digits; empty where a number is not defined."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
