import json

import numpy as np
import polars as pl
import pytest

from ich.evaluation.statistics import metrics, results
from ich.evaluation.statistics.probability_metrics import bin_of
from ich.evaluation.statistics.replicates import calibration_statistics
from ich.evaluation.statistics.results import Sample
from ich.labels import LABELS


def make_sample(n: int = 300, patients: int = 40, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 6)) < [0.4, 0.1, 0.2, 0.15, 0.2, 0.25]
    probabilities = np.round(np.clip(rng.random((n, 6)) * 0.7 + truth * 0.25, 0, 1), 2).astype(np.float32)
    return Sample(truth, probabilities, probabilities >= 0.5, rng.integers(patients, size=n).astype(str))


def take(sample: Sample, rows: np.ndarray) -> Sample:
    return Sample(sample.truth[rows], sample.probabilities[rows], sample.decisions[rows], sample.patients[rows])


def values(sample: Sample) -> dict[tuple[str, str], float]:
    table = results.estimates(sample, 0, np.random.default_rng(0))
    return {(column, metric): figure.value for column, row in table.items() for metric, figure in row.items()}


def test_rankings_ignore_a_monotone_change_of_the_probabilities_and_ratios_follow_the_decisions_only():
    sample = make_sample()
    squeezed = Sample(sample.truth, sample.probabilities**3, sample.decisions, sample.patients)
    before, after = values(sample), values(squeezed)
    kept = [key for key in before if key[1] in (*metrics.RANKINGS, *metrics.RATIOS)]
    assert {key: after[key] for key in kept} == pytest.approx({key: before[key] for key in kept}, abs=1e-12)


def test_replicates_equal_metrics_of_the_patients_drawn():
    sample = make_sample(n=60, patients=7)
    _, replicates = results.replicate_statistics(sample, 3, np.random.default_rng(5))
    drawn = np.random.default_rng(5).integers(7, size=(3, 7))
    for row, patients in enumerate(drawn):
        slices = np.concatenate([np.flatnonzero(sample.codes == patient) for patient in patients])
        expected = values(take(sample, slices))
        for metric in ("auroc", "average_precision", "sensitivity", "log_loss", "brier"):
            for position, column in enumerate(results.COLUMNS):
                found = replicates[metric][row, position]
                assert found == pytest.approx(expected[column, metric], nan_ok=True)
        assert replicates["weighted_log_loss"][row] == pytest.approx(expected["all labels", "weighted_log_loss"])
        assert replicates["exact_match"][row] == pytest.approx(expected["all labels", "exact_match"])


def test_calibration_replicates_equal_fits_of_the_patients_drawn_the_first_200_at_most():
    sample = make_sample(n=120, patients=15)
    _, replicates, _ = calibration_statistics(sample, 300, np.random.default_rng(5))
    drawn = np.random.default_rng(5).integers(15, size=(300, 15))
    assert replicates["calibration_slope"].shape == (200, 6)
    for row in (0, 1, 199):
        slices = np.concatenate([np.flatnonzero(sample.codes == patient) for patient in drawn[row]])
        expected = values(take(sample, slices))
        for metric, found in replicates.items():
            labels = [expected[label, metric] for label in LABELS]
            assert found[row] == pytest.approx(labels, abs=1e-6, nan_ok=True)


def test_ece_of_a_replicate_keeps_the_bins_of_the_sample():
    sample = make_sample(n=60, patients=7)
    _, replicates = results.replicate_statistics(sample, 2, np.random.default_rng(5))
    bins = bin_of(sample.probabilities[:, 0])
    drawn = np.random.default_rng(5).integers(7, size=(2, 7))
    for row, patients in enumerate(drawn):
        slices = np.concatenate([np.flatnonzero(sample.codes == patient) for patient in patients])
        gap = (sample.truth[:, 0] - sample.probabilities[:, 0].astype(float))[slices]
        expected = sum(abs(gap[bins[slices] == code].sum()) for code in range(15)) / len(slices)
        assert replicates["ece"][row, 0] == pytest.approx(expected)


def test_ratios_of_many_columns_equal_those_of_the_table():
    sample = make_sample()
    table = results.estimates(sample, 50, np.random.default_rng(3))
    twice = np.tile(sample.truth, 2), np.tile(sample.decisions, 2)
    found = results.ratio_estimates(*twice, sample.patients, 50, np.random.default_rng(3))
    assert len(found) == 12
    for column, label in enumerate(LABELS):
        assert found[column] == found[column + 6]
        assert found[column].figures == {name: table[label][name] for name in metrics.RATIOS}
        assert list(found[column].counts.values()) == [int(count[column]) for count in sample.counts]
    json.dumps([each.as_json() for each in found], allow_nan=False)


def test_ratios_of_none_called_have_reasons_at_their_level():
    truth = np.array([[True], [False]])
    (found,) = results.ratio_estimates(
        truth, truth & False, np.array(["a", "b"]), 5, np.random.default_rng(0), "patient"
    )
    assert found.figures["ppv"].reason == "no patient called positive"
    assert found.counts == {"tp": 0, "fp": 0, "tn": 1, "fn": 1}


def test_a_label_without_positives_is_undefined_with_its_reason_and_so_is_the_mean():
    sample = make_sample()
    sample.truth[:, 1] = False
    table = results.estimates(sample, 20, np.random.default_rng(0))
    assert np.isnan(table["epidural"]["auroc"].value)
    assert table["epidural"]["auroc"].reason == "no positive slice"
    assert np.isnan(table["macro"]["auroc"].value)
    assert table["macro"]["auroc"].reason == "epidural: no positive slice"
    assert np.isfinite(table["micro"]["auroc"].value)
    assert json.loads(json.dumps(table["epidural"]["auroc"].as_json(), allow_nan=False))["value"] is None


def test_tidy_rows_hold_every_figure_once_with_its_denominators():
    sample = make_sample()
    rows = pl.DataFrame(
        list(results.tidy_rows("test", "slice", sample, results.estimates(sample, 50, np.random.default_rng(0)))),
        infer_schema_length=None,
    )
    assert rows.columns == ["split", "level", "label", "metric", "value", "low", "high", "n", "positives", "reason"]
    assert not rows.select("label", "metric").is_duplicated().any()
    row = rows.row(by_predicate=(pl.col("label") == "subdural") & (pl.col("metric") == "sensitivity"), named=True)
    assert row["positives"] == sample.truth[:, 5].sum()
    assert row["low"] < row["value"] < row["high"]
    micro = rows.row(by_predicate=(pl.col("label") == "micro") & (pl.col("metric") == "tp"), named=True)
    assert (micro["value"], micro["n"]) == ((sample.truth & sample.decisions).sum(), 6 * len(sample))
