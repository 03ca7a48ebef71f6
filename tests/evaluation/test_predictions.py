"""Predictions to a table and back."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from ich.errors import DataError
from ich.evaluation import predictions
from ich.labels import LABELS, SUBTYPES

PROBABILITIES = np.linspace(0, 1, 18, dtype=np.float32).reshape(3, 6)[:, ::-1]
UNGATED = np.column_stack([PROBABILITIES[:, 0], PROBABILITIES[:, 1:] / 2])
TABLE = pl.DataFrame({
    "ImageID": ["ID_a", "ID_b", "ID_c"], "patient": ["p", "p", "q"], "study": ["s"] * 3, "series": ["t", "t", None],
    **{label: pl.Series([1, 0, 0], dtype=pl.UInt8) for label in LABELS},
})  # fmt: skip


def predicted(ungated, gives=None):
    def predict_files(slices, done, ungated):
        without_gate = (UNGATED if gives is None else gives) if ungated else None
        return SimpleNamespace(
            probabilities=PROBABILITIES, gated_in=np.array([True, False, True]), raised=0, ungated=without_gate
        )

    detector = SimpleNamespace(predict_files=predict_files)
    return predictions.predict(detector, {"test": TABLE}, {"test": None}, ungated)[0]


def test_what_is_written_is_read(tmp_path):
    predicted(ungated=True).write_parquet(tmp_path / "predictions.parquet")
    scored = predictions.select(pl.read_parquet(tmp_path / "predictions.parquet"), "test")
    assert np.array_equal(scored.probabilities, PROBABILITIES)
    assert np.array_equal(scored.ungated, UNGATED)
    assert scored.ungated.dtype == np.float32
    assert scored.series.tolist() == ["t", "t", "ID_c"]  # without a series, one of its own
    assert scored.gated_in.tolist() == [True, False, True]
    assert scored.truth[:, 3].tolist() == [True, False, False]


def test_what_was_not_computed_is_nan_but_for_any_which_has_no_gate():
    rows = predicted(ungated=False)
    assert rows.schema["ungated_subdural"] == pl.Float32
    assert rows["ungated_subdural"].is_null().all()
    for table in (rows, rows.drop(f"ungated_{subtype}" for subtype in SUBTYPES)):
        scored = predictions.select(table, "test")
        assert np.array_equal(scored.ungated[:, 0], PROBABILITIES[:, 0])
        assert np.isnan(scored.ungated[:, 1:]).all()


def test_a_network_that_gives_no_probability_behind_the_gate_is_refused():
    with pytest.raises(DataError, match=r"outside \[0, 1\] for 3 slices of split test"):
        predicted(ungated=True, gives=UNGATED * np.nan)
