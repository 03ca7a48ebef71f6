"""What holds for every metric at once."""

import numpy as np
import pytest
from sklearn import metrics as reference

from ich.evaluation.statistics import results
from ich.evaluation.statistics.proportions import EXACT
from ich.evaluation.statistics.results import COLUMNS, METRICS, OVERALL, OVERALL_METRICS, Estimates, Sample
from ich.labels import LABELS

EVERY = [*METRICS, *OVERALL_METRICS]
SWAPPED = {"sensitivity": "specificity", "specificity": "sensitivity", "ppv": "npv", "npv": "ppv"}
NOT_SWAPPED = ("average_precision", "f1")  # they are of the positives: another figure of the other class
NEGATED = ("calibration_intercept",)


@pytest.fixture(scope="module")
def sample() -> Sample:
    """300 slices of 40 patients; no two probabilities of a label are equal, and 15 bins hold 20 each."""
    rng = np.random.default_rng(0)
    truth = rng.random((300, 6)) < [0.4, 0.1, 0.2, 0.15, 0.2, 0.25]
    probabilities = np.clip(rng.random((300, 6)) * 0.7 + truth * 0.25, 0.01, 0.99)
    return Sample(truth, probabilities, probabilities >= 0.5, rng.integers(40, size=300).astype("U9"))


def take(sample: Sample, rows: np.ndarray) -> Sample:
    return Sample(sample.truth[rows], sample.probabilities[rows], sample.decisions[rows], sample.patients[rows])


def table(sample: Sample) -> Estimates:
    return results.estimates(sample, 0, np.random.default_rng(0))


def values(figures: Estimates, metric: str) -> list[float]:
    return [row[metric].value for row in figures.values() if metric in row]


@pytest.fixture(scope="module")
def figures(sample: Sample) -> Estimates:
    return table(sample)


@pytest.fixture(scope="module")
def shuffled(sample: Sample) -> Estimates:
    return table(take(sample, np.random.default_rng(1).permutation(300)))


@pytest.fixture(scope="module")
def doubled(sample: Sample) -> Estimates:
    twice = take(sample, np.tile(np.arange(300), 2))
    twice.patients[300:] = np.char.add("b", sample.patients)
    return table(twice)


@pytest.fixture(scope="module")
def swapped(sample: Sample) -> Estimates:
    return table(Sample(~sample.truth, 1 - sample.probabilities, ~sample.decisions, sample.patients))


@pytest.mark.parametrize("metric", EVERY)
def test_the_order_of_slices_does_not_matter(metric, figures, shuffled):
    assert values(shuffled, metric) == pytest.approx(values(figures, metric), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("metric", EVERY)
def test_every_patient_twice_changes_nothing(metric, figures, doubled):
    assert values(doubled, metric) == pytest.approx(values(figures, metric), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("metric", [metric for metric in EVERY if metric not in NOT_SWAPPED])
def test_swapping_the_classes_swaps_the_figures(metric, figures, swapped):
    other = SWAPPED.get(metric, metric)
    for column in (*LABELS, "macro", "micro") if metric in METRICS else (OVERALL,):
        expected = figures[column][other].value * (-1 if metric in NEGATED else 1)
        assert swapped[column][metric].value == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("metric", METRICS)
def test_every_figure_has_a_value_or_a_reason_also_where_labels_are_of_one_class(metric, sample):
    truth = sample.truth.copy()
    truth[:, 1], truth[:, 2] = False, True
    odd = Sample(truth, sample.probabilities, sample.decisions, sample.patients, level="series")
    for column, row in results.estimates(odd, 20, np.random.default_rng(0)).items():
        if metric in row:
            figure = row[metric]
            known = figure.reason in ("", EXACT)
            assert np.isfinite([figure.value, figure.low, figure.high]).all() == known
            assert np.isfinite(figure.value) or not figure.reason.startswith("no interval")
            assert "slice" not in figure.reason, column


@pytest.mark.parametrize(
    ("metric", "function", "of"),
    [
        ("sensitivity", reference.recall_score, "decisions"),
        ("ppv", reference.precision_score, "decisions"),
        ("f1", reference.f1_score, "decisions"),
        ("auroc", reference.roc_auc_score, "probabilities"),
        ("average_precision", reference.average_precision_score, "probabilities"),
    ],
)
@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
def test_means_over_labels_equal_scikit_learn(metric, function, of, average, sample, figures):
    assert figures[average][metric].value == pytest.approx(function(sample.truth, getattr(sample, of), average=average))


@pytest.mark.parametrize("metric", ["log_loss", "brier", "accuracy", "specificity", "ece", "npv"])
def test_the_weighted_mean_is_by_positives(metric, sample, figures):
    labels = [figures[label][metric].value for label in LABELS]
    expected = np.average(labels, weights=sample.truth.sum(axis=0))
    assert figures["weighted"][metric].value == pytest.approx(expected)


def test_label_figures_equal_scikit_learn(sample, figures):
    for position, label in enumerate(LABELS):
        truth, probabilities, called = (
            each[:, position] for each in (sample.truth, sample.probabilities, sample.decisions)
        )
        expected = {
            "brier": reference.brier_score_loss(truth, probabilities),
            "log_loss": reference.log_loss(truth, probabilities),
            "accuracy": reference.accuracy_score(truth, called),
            "specificity": reference.recall_score(truth, called, pos_label=0),
            "npv": reference.precision_score(truth, called, pos_label=0),
        }
        assert {name: figures[label][name].value for name in expected} == pytest.approx(expected)


def test_a_label_without_positives_weighs_nothing_in_the_weighted_mean_but_leaves_macro_undefined(sample):
    truth = sample.truth.copy()
    truth[:, 1] = False
    found = table(Sample(truth, sample.probabilities, sample.decisions, sample.patients))
    labels = [found[label]["auroc"].value for label in LABELS]
    expected = np.average(np.delete(labels, 1), weights=np.delete(truth.sum(axis=0), 1))
    assert found["weighted"]["auroc"].value == pytest.approx(expected)
    assert found["macro"]["auroc"].reason == "epidural: no positive slice"
    none = table(Sample(truth & False, sample.probabilities, sample.decisions, sample.patients, level="study"))
    assert {row["brier"].reason for row in (none["weighted"],)} == {"no positive study"}


def test_columns_are_the_labels_and_three_means(figures):
    assert list(figures) == [*COLUMNS, OVERALL] == [*LABELS, "macro", "weighted", "micro", OVERALL]
    assert all(set(figures[column]) == set(METRICS) for column in COLUMNS)
