import json

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as reference

from ich.evaluation import results
from ich.evaluation.results import Sample
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


def test_no_metric_depends_on_the_order_of_slices():
    sample = make_sample()
    order = np.random.default_rng(1).permutation(len(sample))
    assert values(take(sample, order)) == pytest.approx(values(sample), abs=1e-12)


def test_no_metric_changes_when_every_slice_is_there_twice():
    sample = make_sample()
    assert values(take(sample, np.tile(np.arange(len(sample)), 2))) == pytest.approx(values(sample), abs=1e-12)


def test_rankings_ignore_a_monotone_change_of_the_probabilities_and_ratios_follow_the_decisions_only():
    sample = make_sample()
    squeezed = Sample(sample.truth, sample.probabilities**3, sample.decisions, sample.patients)
    before, after = values(sample), values(squeezed)
    kept = [key for key in before if "log_loss" not in key[1]]
    assert {key: after[key] for key in kept} == pytest.approx({key: before[key] for key in kept}, abs=1e-12)


def test_swapping_the_classes_swaps_sensitivity_and_specificity():
    sample = make_sample()
    swapped = values(Sample(~sample.truth, 1 - sample.probabilities.astype(float), ~sample.decisions, sample.patients))
    before = values(sample)
    for label in LABELS:
        assert swapped[label, "sensitivity"] == pytest.approx(before[label, "specificity"])
        assert swapped[label, "ppv"] == pytest.approx(before[label, "npv"])
        assert swapped[label, "auroc"] == pytest.approx(before[label, "auroc"])
        assert swapped[label, "log_loss"] == pytest.approx(before[label, "log_loss"], rel=1e-6)


def test_all_figures_equal_scikit_learn():
    sample = make_sample()
    truth, scores, called = sample.truth, sample.probabilities.astype(float), sample.decisions
    found = values(sample)
    for average, column in (("macro", "macro"), ("micro", "micro")):
        for metric, function in (
            ("ppv", reference.precision_score),
            ("sensitivity", reference.recall_score),
            ("f1", reference.f1_score),
        ):
            assert found[column, metric] == pytest.approx(function(truth, called, average=average))
        assert found[column, "auroc"] == pytest.approx(reference.roc_auc_score(truth, scores, average=average))
        expected = reference.average_precision_score(truth, scores, average=average)
        assert found[column, "average_precision"] == pytest.approx(expected)
    assert found["all labels", "exact_match"] == pytest.approx(reference.accuracy_score(truth, called))
    losses = [reference.log_loss(truth[:, label], scores[:, label]) for label in range(6)]
    assert found["all labels", "weighted_log_loss"] == pytest.approx(np.average(losses, weights=[2, 1, 1, 1, 1, 1]))


def test_replicates_equal_metrics_of_the_patients_drawn():
    sample = make_sample(n=60, patients=7)
    _, replicates = results.replicate_statistics(sample, 3, np.random.default_rng(5))
    drawn = np.random.default_rng(5).integers(7, size=(3, 7))
    for row, patients in enumerate(drawn):
        slices = np.concatenate([np.flatnonzero(sample.codes == patient) for patient in patients])
        expected = values(take(sample, slices))
        for metric in ("auroc", "sensitivity", "log_loss"):
            assert replicates[metric][row, 0] == pytest.approx(expected["any", metric])
        assert replicates["weighted_log_loss"][row] == pytest.approx(expected["all labels", "weighted_log_loss"])
        assert replicates["exact_match"][row] == pytest.approx(expected["all labels", "exact_match"])


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
