"""predictions.parquet: labels and probabilities of every validation and test slice; all figures come from it.

Columns: split, ImageID, patient, study, series, label_<label> (UInt8), probability_<label> (Float32), gated_in (bool:
whether the gate lets it through to stage 2), ungated_<subtype> (Float32: what the probability is without a gate; null
where `evaluate.ungated` is false), calibrated_<label> (Float32: the probabilities that are reported).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.data import Manifest
from ich.errors import DataError
from ich.labels import IMAGE_ID, LABELS, SUBTYPES
from ich.progress import progress_bar

if TYPE_CHECKING:
    from ich.detector import Predictor
    from ich.evaluation.elsewhere.scored import Elsewhere

IDENTITY = (IMAGE_ID, "patient", "study", "series")


class Scored(NamedTuple):
    """One split's predictions as arrays, in the rows' order.

    Attributes:
        image_ids, patients, series: (n,) names; a slice without a series is a series of its own, named as the slice.
        truth: (n, 6) bool.
        probabilities: (n, 6) float32 in [0, 1].
        gated_in: (n,) bool.
        ungated: (n, 6) float32, the probabilities without a gate; `any` is the same with one. Subtypes are NaN where
            they were not computed.
    """

    image_ids: NDArray[np.str_]
    patients: NDArray[np.str_]
    series: NDArray[np.str_]
    truth: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    gated_in: NDArray[np.bool_]
    ungated: NDArray[np.float32]


def predict(
    detector: "Predictor", tables: Mapping[str, pl.DataFrame], slices: Mapping[str, Manifest], ungated: bool = False
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Run the detector on the images of some splits.

    Args:
        detector: from `ich.ensemble.load_models`.
        tables: split -> its slices with patient, study, series and the six labels.
        slices: split -> where the images of the same slices are, in the table's order.
        ungated: run stage 2 of a cascade on every slice.

    Returns:
        The table of this module's docstring; and for each split, in how many slices a flat model's `any` had to be
        raised to its largest subtype.

    Raises:
        DataError: the detector gives something else than probabilities.
    """
    parts, raised = [], {}
    for split, table in tables.items():
        with progress_bar(f"predict {split}", len(table)) as done:
            found = detector.predict_files(slices[split], done=done, ungated=ungated)
        for probabilities in (found.probabilities, *([] if found.ungated is None else [found.ungated])):
            _check(probabilities, split, len(table))
        parts.append(_rows(split, table, found.probabilities, found.gated_in, found.ungated))
        raised[split] = int(np.count_nonzero(found.raised))
    return pl.concat(parts), raised


def of_file(given: Mapping[str, "Elsewhere"], tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The table of this module's docstring, of probabilities from a file; every slice counts as gated in.

    Args:
        given: split -> the file's probabilities, in the order of its table
            (`ich.evaluation.elsewhere.scored.on_splits`).
        tables: split -> its slices with patient, study, series and the six labels.
    """
    return pl.concat([_rows(split, tables[split], each.probabilities, None, None) for split, each in given.items()])


def select(predictions: pl.DataFrame, split: str) -> Scored:
    """The rows of one split."""
    rows = predictions.filter(pl.col("split") == split)
    without_gate = [f"ungated_{subtype}" for subtype in SUBTYPES]
    absent = [pl.lit(None, pl.Float32).alias(name) for name in without_gate if name not in rows.columns]
    return Scored(
        rows[IMAGE_ID].to_numpy().astype(str),
        rows["patient"].to_numpy().astype(str),
        rows.select(pl.coalesce(pl.col("series").cast(pl.String), IMAGE_ID)).to_series().to_numpy().astype(str),
        rows.select(f"label_{label}" for label in LABELS).to_numpy().astype(bool),
        rows.select(f"probability_{label}" for label in LABELS).to_numpy(),
        rows["gated_in"].to_numpy(),
        rows.with_columns(absent).select(pl.col("probability_any", *without_gate).fill_null(float("nan"))).to_numpy(),
    )


def calibrated(predictions: pl.DataFrame, split: str) -> NDArray[np.float32]:
    """The probabilities of one split that are reported, (n, 6), in the rows' order."""
    rows = predictions.filter(pl.col("split") == split)
    return rows.select(f"calibrated_{label}" for label in LABELS).to_numpy()


def with_calibrated(table: pl.DataFrame, reported: Mapping[str, NDArray[np.float32]]) -> pl.DataFrame:
    """Add the probabilities that are reported, `calibrated_<label>` (Float32); by split, in the table's order."""
    values = np.concatenate([reported[split] for split in table["split"].unique(maintain_order=True)])
    columns = (pl.Series(f"calibrated_{label}", values[:, column]) for column, label in enumerate(LABELS))
    return table.with_columns(columns)


def _check(probabilities: NDArray[np.float32], split: str, slices: int) -> None:
    if probabilities.shape != (slices, len(LABELS)):
        raise DataError(f"the model gave shape {probabilities.shape} for {slices} slices; it must be ({slices}, 6)")
    wrong = ~((probabilities >= 0) & (probabilities <= 1))  # NaN too
    if wrong.any():
        raise DataError(
            f"the model gave NaN or a value outside [0, 1] for {wrong.any(axis=1).sum()} slices of split {split}; "
            "train it again with a lower learning rate"
        )


def _rows(
    split: str,
    table: pl.DataFrame,
    probabilities: NDArray[np.floating],
    gated_in: NDArray[np.bool_] | None,
    ungated: NDArray[np.float32] | None,
) -> pl.DataFrame:
    nothing = [None] * len(table)
    six = probabilities.astype(np.float32)
    return table.select(
        pl.lit(split).alias("split"),
        *IDENTITY,
        *(pl.col(label).alias(f"label_{label}") for label in LABELS),
        *(pl.Series(f"probability_{label}", six[:, column]) for column, label in enumerate(LABELS)),
        pl.Series("gated_in", [True] * len(table) if gated_in is None else gated_in),
        *(
            pl.Series(f"ungated_{subtype}", nothing if ungated is None else ungated[:, column], pl.Float32)
            for column, subtype in enumerate(SUBTYPES, start=1)
        ),
    )
