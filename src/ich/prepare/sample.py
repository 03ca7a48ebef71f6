"""Step 1, sample: choose slices, so many positives of each label and so many negatives."""

import numpy as np
import polars as pl

from ich.config import Experiment
from ich.errors import DataError
from ich.files import read_parquet, write_csv
from ich.labels import IMAGE_ID, LABELS, counts, read_long_labels
from ich.prepare.patients import patients
from ich.prepare.splits_file import read_assignment
from ich.workspace import Outcome, Workspace

_SERIES = {IMAGE_ID: pl.String, "series": pl.String}  # what is read of the index


def sample(config: Experiment) -> Outcome:
    """Write the table of chosen slices: ImageID and six labels, sorted by ImageID.

    With `sample.scope: train` only training slices are sampled and every validation and test slice is kept; with
    `all` the draw is the notebooks', id for id.

    With `sample.whole_series` the other slices of their series come too.

    Raises:
        DataError: the label file is missing or wrong, or the index is not there.
    """
    workspace = Workspace(config)
    labels, duplicates = read_long_labels(workspace.label_csv)
    pool, kept = labels, labels.clear()
    if config.sample.scope == "train":
        assignment = read_assignment(workspace)
        _refuse_unassigned(labels, assignment, workspace)
        in_split = labels.join(assignment, on=IMAGE_ID, how="inner", maintain_order="left")
        pool = in_split.filter(pl.col("split") == "train").drop("split")
        kept = in_split.filter(pl.col("split") != "train").drop("split")
    drawn = draw(pool, config.sample.per_label, config.sample.negatives, config.seed)
    added = {}
    if config.sample.whole_series:
        alone, drawn = drawn, whole_series(pool, drawn, read_parquet(workspace.index, _SERIES))
        added["added, the rest of their series"] = len(drawn) - len(alone)
    chosen = pl.concat([drawn, kept]).sort(IMAGE_ID)
    write_csv(workspace.sampled, chosen)
    return Outcome(
        counts={
            "labelled": len(labels), "duplicated label rows": duplicates, "sampled": len(chosen), **added,
            **counts(chosen),
        },
        outputs=[workspace.sampled],
    )  # fmt: skip


def draw(table: pl.DataFrame, per_label: int, negatives: int, seed: int) -> pl.DataFrame:
    """Draw positives of each label and negatives, without replacement; the union keeps the order of the table.

    The draw is that of pandas' `DataFrame.sample(n, random_state=seed)` on the rows of each label: a permutation by
    numpy's legacy RandomState, started anew for each label.

    Args:
        table: ImageID and six labels, sorted by ImageID.
        per_label: positives of each label, or 0 for all.
        negatives: slices with any = 0, or 0 for all.
        seed: of the draw.
    """
    chosen = np.zeros(len(table), bool)
    groups = [(table[label].to_numpy() == 1, per_label) for label in LABELS]
    for members, wanted in [*groups, (table["any"].to_numpy() == 0, negatives)]:
        rows = np.flatnonzero(members)
        size = min(wanted or len(rows), len(rows))
        chosen[rows[np.random.RandomState(seed).choice(len(rows), size, replace=False)] if size else []] = True
    return table.filter(pl.Series(chosen))


def whole_series(pool: pl.DataFrame, drawn: pl.DataFrame, index: pl.DataFrame) -> pl.DataFrame:
    """Every slice of a table that was drawn, or shares its series with one that was, in the order of the table.

    Args:
        pool: ImageID and six labels.
        drawn: some of its rows.
        index: ImageID and series; of a slice whose series is not known (null), no other is taken.
    """
    known = index.drop_nulls()
    series = known.join(drawn, on=IMAGE_ID, how="semi")
    beside = known.join(series, on="series", how="semi").select(IMAGE_ID)
    taken = pl.concat([beside, drawn.select(IMAGE_ID)])
    return pool.join(taken, on=IMAGE_ID, how="semi", maintain_order="left")


def _refuse_unassigned(labels: pl.DataFrame, assignment: pl.DataFrame, workspace: Workspace) -> None:
    """A slice that could have been split, but is in no split, would be lost without a word."""
    by_patient = workspace.config.split.unit == "patient"
    could = labels.join(patients(workspace), on=IMAGE_ID, how="semi") if by_patient else labels
    lost = could.join(assignment, on=IMAGE_ID, how="anti")
    if not lost.is_empty():
        raise DataError(f"{workspace.splits} lacks {len(lost)} of the {len(could)} labelled slices; run split again")
