"""Training and validation loss over the epochs, from a run's history.csv."""

from pathlib import Path

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ich.evaluation.figures.drawing import ACCENT, INK, MUTED, RULE, new_figure, quiet


def training_figure(history: pl.DataFrame) -> Figure:
    """Training and validation loss over the epochs, a panel a stage; thin lines part the phases."""
    stages = history.partition_by("stage", maintain_order=True)
    figure = new_figure(3.4 * max(len(stages), 2), 2.9)
    for position, rows in enumerate(stages):
        axes = figure.add_subplot(1, max(len(stages), 2), position + 1)
        epochs = np.arange(1, len(rows) + 1)
        axes.plot(epochs, rows["loss"], color=MUTED, linewidth=1.2, marker=".", markersize=4, label="training")
        axes.plot(epochs, rows["val_loss"], color=ACCENT, linewidth=1.6, marker=".", markersize=4, label="validation")
        phases = rows["phase"].to_numpy()
        for change in np.flatnonzero(phases[1:] != phases[:-1]) + 1.5:
            axes.axvline(change, color=RULE, linewidth=0.8)
        axes.set(title=str(rows["stage"][0]), xlabel="epoch", ylabel="loss")
        axes.set_xlim(0.5, len(rows) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
        quiet(axes)
    return figure


def read_history(path: Path) -> pl.DataFrame | None:
    """history.csv with the columns stage, phase, loss, val_loss; None where there is none or it holds no losses."""
    if not path.is_file():
        return None
    try:
        history = pl.read_csv(path, infer_schema_length=None, glob=False)
    except pl.exceptions.PolarsError:
        return None  # cut off or empty: the report does without
    if history.is_empty() or not {"loss", "val_loss"} <= set(history.columns):
        return None
    absent = [pl.lit("").alias(name) for name in ("stage", "phase") if name not in history.columns]
    return history.with_columns(absent).with_columns(pl.col("stage", "phase").cast(pl.String).fill_null(""))
