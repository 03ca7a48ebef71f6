import numpy as np
import pytest
from sklearn import metrics as reference

from ich.evaluation.statistics import metrics
from ich.evaluation.statistics.metrics import Confusion

TRUTH = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)[:, None]
CALLED = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], bool)[:, None]

# DATA_FACTS: stage-2 training set, positives in label order of 752,803 slices.
SLICES = 752_803
POSITIVES = np.array([107_933, 3_145, 36_118, 26_205, 35_675, 47_166])


def test_counts_and_ratios_by_hand():
    counts = metrics.confusion(TRUTH, CALLED)
    assert [int(count[0]) for count in counts] == [3, 1, 5, 1]
    ratios = {name: float(value[0]) for name, value in metrics.ratios(counts).items()}
    assert ratios == pytest.approx(
        {"accuracy": 0.8, "sensitivity": 3 / 4, "specificity": 5 / 6, "ppv": 3 / 4, "npv": 5 / 6, "f1": 3 / 4}
    )


@pytest.mark.parametrize(
    ("counts", "undefined"),
    [
        ((0, 0, 5, 0), {"sensitivity", "ppv", "f1", "auroc", "average_precision"}),  # all negative, none called
        ((0, 2, 3, 0), {"sensitivity", "f1", "auroc", "average_precision"}),  # all negative, some called
        ((4, 0, 0, 1), {"specificity", "auroc", "average_precision"}),  # all positive
        ((0, 0, 5, 2), {"ppv"}),  # none called
        ((2, 5, 0, 0), {"npv"}),  # all called
    ],
)
def test_undefined_is_nan_and_has_a_reason(counts: tuple[int, ...], undefined: set[str]):
    confusion = Confusion(*(np.array([count]) for count in counts))
    tp, fp, tn, fn = counts
    truth = np.repeat([True, False, False, True], counts)
    auroc, average_precision = metrics.auroc_and_average_precision(
        metrics.rank(truth, np.linspace(0, 1, len(truth))), np.ones((1, 1), np.int32), np.zeros(len(truth), np.intp)
    )
    values = metrics.ratios(confusion) | {"auroc": auroc, "average_precision": average_precision}
    assert {name for name, value in values.items() if np.isnan(value[0])} == undefined
    assert {name for name in values if metrics.why_undefined(name, Confusion(tp, fp, tn, fn))} == undefined


def test_no_positive_found_is_an_f1_of_zero_not_undefined():
    assert metrics.ratios(Confusion(*map(np.array, ([0], [3], [5], [2]))))["f1"][0] == 0


@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_rankings_equal_scikit_learn_with_ties_and_weights(decimals: int):
    rng = np.random.default_rng(decimals)
    truth = rng.random(400) < 0.2
    scores = np.round(rng.random(400) * 0.7 + truth * 0.3, decimals)
    groups = rng.integers(0, 30, 400)
    weights = rng.integers(0, 4, (5, 30)).astype(np.int32)
    auroc, average_precision = metrics.auroc_and_average_precision(metrics.rank(truth, scores), weights, groups)
    for row, multiplicity in enumerate(weights):
        weight = multiplicity[groups]
        assert auroc[row] == pytest.approx(reference.roc_auc_score(truth, scores, sample_weight=weight), abs=1e-12)
        expected = reference.average_precision_score(truth, scores, sample_weight=weight)
        assert average_precision[row] == pytest.approx(expected, abs=1e-12)


def test_auroc_by_hand_counts_a_tie_as_half():
    # Positives .9, .5 against negatives .5, .1: two pairs won by .9, one tie, one won by .5.
    assert metrics.auroc(np.array([1, 1, 0, 0], bool), [0.9, 0.5, 0.5, 0.1]) == pytest.approx(3.5 / 4)


def test_log_loss_equals_scikit_learn_and_is_clipped():
    rng = np.random.default_rng(0)
    truth, probabilities = rng.random(200) < 0.3, rng.random(200).astype(np.float32)
    expected = reference.log_loss(truth, probabilities.astype(float))
    assert metrics.log_losses(truth, probabilities).mean() == pytest.approx(expected, rel=1e-9)
    worst = metrics.log_losses(np.array([True, False]), np.array([0, 1], np.float32))
    assert worst == pytest.approx([-np.log(1e-15), -np.log(1e-15)], rel=1e-2)  # 1 - (1 - 1e-15) in binary


def test_constant_prevalence_scores_what_the_competition_data_give():
    prevalence = POSITIVES / SLICES
    entropy = -(prevalence * np.log(prevalence) + (1 - prevalence) * np.log(1 - prevalence))
    assert metrics.weighted_log_loss(entropy) == pytest.approx(0.2311, abs=5e-5)
    truth = np.arange(SLICES)[:, None] < POSITIVES
    losses = metrics.log_losses(truth, np.broadcast_to(prevalence, truth.shape)).mean(axis=0)
    assert metrics.weighted_log_loss(losses) == pytest.approx(0.2311, abs=5e-5)


def test_a_winners_label_losses_give_their_score():
    losses = np.array([0.09801, 0.01552, 0.04325, 0.02559, 0.05937, 0.07052])
    assert metrics.weighted_log_loss(losses) == pytest.approx(0.05861, abs=5e-6)
