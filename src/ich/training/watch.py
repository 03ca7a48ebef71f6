"""What can be watched of a training: history.csv, TensorBoard, a line an epoch, a progress bar."""

import csv
import io
import math
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from tensorboardX import SummaryWriter

from ich.files import write_text

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
    "waiting",
)
Row = dict[str, Any]


class History:
    """history.csv: a row an epoch of every stage and phase; the file is whole after every epoch.

    Rows of the stages named in `keep` are taken over from the file as it is; all others are dropped.
    """

    def __init__(self, path: Path, keep: Collection[str] = ()) -> None:
        self.path = path
        self.rows: list[Row] = []
        if keep and path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if row["stage"] in keep]
        self._write()

    def extend(self, rows: Sequence[Row]) -> None:
        """Append epochs and write the file."""
        self.rows.extend(rows)
        self._write()

    def of_stage(self, stage: str) -> list[Row]:
        """Rows of one stage."""
        return [row for row in self.rows if row["stage"] == stage]

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _short(value) for name, value in row.items()} for row in self.rows)
        write_text(self.path, text.getvalue())


class Events:
    """TensorBoard events of a stage: losses, scores, learning rate, speed, and the AUC of each label on validation."""

    def __init__(self, folder: Path, first_epoch: int) -> None:
        """Begin, or go on.

        Args:
            folder: of the stage; the events of training and validation lie in folders in it.
            first_epoch: counted from 0; what a training that was cut off had told of this and later epochs is void.
        """
        void_from = first_epoch + 1 if first_epoch else None
        unique = f".{time.time_ns()}"  # tensorboardX names its file by the second, and would write over another's
        self.writers = {
            part: SummaryWriter(str(folder / part), purge_step=void_from, filename_suffix=unique)
            for part in ("train", "validation")
        }

    def add(self, row: Row, label_aucs: dict[str, float]) -> None:
        """Write an epoch's row of the history, and the AUC of each label on validation."""
        of_training = (*METRICS, "learning_rate", "images_per_s", "waiting")
        self._write("train", {name: row[name] for name in of_training}, row["epoch"])
        of_labels = {f"auc/{label}": auc for label, auc in label_aucs.items()}
        self._write("validation", {name: row[f"val_{name}"] for name in METRICS} | of_labels, row["epoch"])

    def show_samples(self, ids: Sequence[str], images: NDArray[np.uint8]) -> None:
        """Show slices, (n, size, size, 3) RGB, that `tell_samples` tells of."""
        for name, image in zip(ids, images, strict=True):
            self.writers["validation"].add_image(f"samples/{name}", image, 0, dataformats="HWC")

    def tell_samples(self, table: str, epoch: int) -> None:
        """Tell what was said of the slices after an epoch, as Markdown."""
        self.writers["validation"].add_text("samples", table, epoch)
        self.writers["validation"].flush()

    def _write(self, part: str, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            if math.isfinite(value):
                self.writers[part].add_scalar(name, value, step)
        self.writers[part].flush()

    def close(self) -> None:
        """Close the event files."""
        for writer in self.writers.values():
            writer.close()


def print_epoch(console: Console, row: Row) -> None:
    """An epoch as one line."""
    console.print(
        f"{row['stage']}, {row['phase']}, epoch {row['epoch']}: loss {row['loss']:.4f}, "
        f"validation {row['val_loss']:.4f} (AUC {row['val_auc']:.3f}), {row['seconds']:.0f} s, "
        f"{row['images_per_s']:.0f} images/s, {100 * row['waiting']:.0f} % of the time waiting for data",
        highlight=False,
        soft_wrap=True,
    )


def _short(value: Any) -> Any:
    """Six digits; empty where a number is not defined."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
