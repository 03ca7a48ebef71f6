"""predictions.parquet: labels and probabilities of every validation and test slice; all figures come from it.

Columns: split, ImageID, patient, study, series, label_<label> (UInt8), probability_<label> (Float32), gated_in (bool:
whether stage 2 ran).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.data import Manifest
from ich.errors import DataError
from ich.labels import IMAGE_ID, LABELS
from ich.progress import progress_bar

if TYPE_CHECKING:
    from ich.detector import Predictor

IDENTITY = (IMAGE_ID, "patient", "study", "series")


class Scored(NamedTuple):
    """One split's predictions as arrays, in the rows' order.

    Attributes:
        image_ids, patients: (n,) names.
        truth: (n, 6) bool.
        probabilities: (n, 6) float32 in [0, 1].
        gated_in: (n,) bool.
    """

    image_ids: NDArray[np.str_]
    patients: NDArray[np.str_]
    truth: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    gated_in: NDArray[np.bool_]


def predict(
    detector: "Predictor", tables: Mapping[str, pl.DataFrame], slices: Mapping[str, Manifest]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Run the detector on the images of some splits.

    Args:
        detector: from `ich.ensemble.load_models`.
        tables: split -> its slices with patient, study, series and the six labels.
        slices: split -> where the images of the same slices are, in the table's order.

    Returns:
        The table of this module's docstring; and for each split, in how many slices a flat model's `any` had to be
        raised to its largest subtype.

    Raises:
        DataError: the detector gives something else than probabilities.
    """
    parts, raised = [], {}
    for split, table in tables.items():
        with progress_bar(f"predict {split}", len(table)) as done:
            found = detector.predict_files(slices[split], done=done)
        probabilities = _checked(found.probabilities, split, len(table))
        parts.append(_rows(split, table, probabilities, found.gated_in))
        raised[split] = int(np.count_nonzero(found.raised))
    return pl.concat(parts), raised


def select(predictions: pl.DataFrame, split: str) -> Scored:
    """The rows of one split."""
    rows = predictions.filter(pl.col("split") == split)
    return Scored(
        rows[IMAGE_ID].to_numpy().astype(str),
        rows["patient"].to_numpy().astype(str),
        rows.select(f"label_{label}" for label in LABELS).to_numpy().astype(bool),
        rows.select(f"probability_{label}" for label in LABELS).to_numpy(),
        rows["gated_in"].to_numpy(),
    )


def _checked(probabilities: NDArray[np.float32], split: str, slices: int) -> NDArray[np.float32]:
    if probabilities.shape != (slices, len(LABELS)):
        raise DataError(f"the model gave shape {probabilities.shape} for {slices} slices; it must be ({slices}, 6)")
    wrong = ~((probabilities >= 0) & (probabilities <= 1))  # NaN too
    if wrong.any():
        raise DataError(
            f"the model gave NaN or a value outside [0, 1] for {wrong.any(axis=1).sum()} slices of split {split}; "
            "train it again with a lower learning rate"
        )
    return probabilities


def _rows(
    split: str, table: pl.DataFrame, probabilities: NDArray[np.float32], gated_in: NDArray[np.bool_]
) -> pl.DataFrame:
    return table.select(
        pl.lit(split).alias("split"),
        *IDENTITY,
        *(pl.col(label).alias(f"label_{label}") for label in LABELS),
        *(pl.Series(f"probability_{label}", probabilities[:, column]) for column, label in enumerate(LABELS)),
        pl.Series("gated_in", gated_in),
    )
