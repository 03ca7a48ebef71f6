import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_curve

from ich.evaluation.validation.operating_points import RULES, choose, choose_gate_threshold

# Descending: + - + + - - + - - -, so four positives and six negatives.
SCORES = np.array([0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], np.float32)
TRUTH = np.array([1, 0, 1, 1, 0, 0, 1, 0, 0, 0], bool)


def of_any(truth, scores, **kwargs):
    """The thresholds of one label."""
    truth, scores = np.asarray(truth, bool), np.asarray(scores)
    chosen = choose(np.tile(truth[:, None], 6), np.tile(scores[:, None], 6), **kwargs)
    return {rule: each[0] for rule, each in chosen.items()}


def test_rules_by_hand():
    found = of_any(TRUTH, SCORES)
    assert {rule: point.value for rule, point in found.items()} == pytest.approx(
        # Youden: 0.7 has 3/4 + 5/6 = 1.58, 0.4 has 4/4 + 3/6 = 1.5. F1: 0.7 has 6/8, 0.4 has 8/11.
        # Sensitivity 0.95 of four positives means all of them; specificity 0.95 of six negatives, none called.
        {"youden": 0.7, "sensitivity": 0.4, "specificity": 0.95, "f1": 0.7}
    )
    point = found["youden"]
    assert (point.tp, point.fp, point.tn, point.fn) == (3, 1, 5, 1)
    assert (point.sensitivity, point.specificity) == (0.75, 5 / 6)
    assert [each.source for each in found.values()] == [
        "validation (Youden)",
        "validation (the largest with sensitivity >= 0.95)",
        "validation (the smallest with specificity >= 0.95)",
        "validation (maximum F1)",
    ]


def test_exactly_95_percent_is_enough():
    # Of 20 positives the lowest may be missed, of 20 negatives the highest called.
    positives, negatives = np.arange(21, 41) / 50, np.arange(1, 21) / 50
    truth = np.r_[np.ones(20), np.zeros(20)]
    found = of_any(truth, np.r_[positives, negatives])
    assert found["sensitivity"].value == pytest.approx(0.44)
    assert found["specificity"].value == pytest.approx(0.40)
    assert found["sensitivity"].sensitivity == found["specificity"].specificity == 0.95


def test_a_specificity_that_no_probability_reaches_is_told():
    point = of_any([1, 0, 0, 1], [0.9, 0.9, 0.1, 0.2])["specificity"]
    assert (point.value, point.specificity) == (0.9, 0.5)
    assert point.source == "validation (the largest probability: none reaches specificity 0.95)"


COLUMN = st.lists(st.tuples(st.booleans(), st.sampled_from([0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.9, 1])), min_size=2)


@given(COLUMN.filter(lambda column: len({truth for truth, _ in column}) == 2))
def test_rules_are_what_trying_all_thresholds_finds(column):
    truth, scores = np.array([t for t, _ in column]), np.array([p for _, p in column], np.float32)
    found = of_any(truth, scores)
    tried = {float(t): scores >= t for t in np.unique(scores)}
    sensitivity = {t: called[truth].mean() for t, called in tried.items()}
    specificity = {t: 1 - called[~truth].mean() for t, called in tried.items()}
    youden = {t: sensitivity[t] + specificity[t] for t in tried}
    f1 = {t: f1_score(truth, called) for t, called in tried.items()}
    assert all(point.value in tried for point in found.values())
    for rule, values in {"youden": youden, "f1": f1}.items():
        best = max(t for t in tried if values[t] >= max(values.values()) - 1e-9)  # of equals, the highest
        assert found[rule].value == best
    assert found["sensitivity"].value == max(t for t in tried if sensitivity[t] >= 0.95 - 1e-9)
    reached = [t for t in tried if specificity[t] >= 0.95 - 1e-9]
    assert found["specificity"].value == (min(reached) if reached else max(tried))
    for point in found.values():
        assert point.sensitivity == pytest.approx(sensitivity[point.value])
        assert point.specificity == pytest.approx(specificity[point.value])


def test_youden_is_scikit_learns():
    rng = np.random.default_rng(0)
    truth = rng.random(500) < 0.3
    scores = (rng.random(500) + truth / 2).astype(np.float32) / 2
    false_positive_rate, sensitivity, candidates = roc_curve(truth, scores, drop_intermediate=False)
    assert of_any(truth, scores)["youden"].value == candidates[np.argmax(sensitivity - false_positive_rate)]


def test_each_label_has_its_own_threshold_and_source():
    rng = np.random.default_rng(0)
    truth = rng.random((50, 6)) < 0.4
    truth[:, 1], truth[:, 2] = False, True
    probabilities = rng.random((50, 6))
    chosen = choose(truth, probabilities, unit="series")
    assert tuple(chosen) == RULES
    for points in chosen.values():
        fallback = "a fixed 0.5, as validation holds no {} series"
        assert (points[1].value, points[1].source) == (0.5, fallback.format("positive"))
        assert (points[2].value, points[2].source) == (0.5, fallback.format("negative"))
        assert np.isnan(points[1].sensitivity)
        assert points[1].specificity == (probabilities[:, 1] < 0.5).mean()
        assert len({point.value for point in points}) == 5


def labels_of(*subtypes):
    """One row a slice: the number (1 to 5) of its subtype, 0 for none."""
    rows = np.zeros((len(subtypes), 6), np.uint8)
    for row, subtype in zip(rows, subtypes, strict=True):
        row[[0, subtype]] = subtype > 0
    return rows


def test_no_miss_allowed_is_the_lowest_positive():
    p_any = np.array([0.9, 0.1, 0.4, 0.2])
    assert choose_gate_threshold(p_any, labels_of(1, 0, 2, 0), max_missed=0) == 0.4


def test_each_subtype_is_held_to_the_share_by_itself():
    # Ten subdurals at .50 to .59 may lose one at 10 %; the one epidural at .55 may lose none.
    p_any = np.array([*np.arange(0.5, 0.6, 0.01), 0.55, 0.3])
    subdural_only = labels_of(*[5] * 10, 0, 0)
    assert choose_gate_threshold(p_any, subdural_only, max_missed=0.1) == pytest.approx(0.51)
    with_epidural = labels_of(*[5] * 10, 1, 0)
    assert choose_gate_threshold(p_any, with_epidural, max_missed=0.3) == pytest.approx(0.53)
    assert choose_gate_threshold(p_any, with_epidural, max_missed=0.9) == pytest.approx(0.55)


def test_a_share_that_binary_cannot_hold_is_counted_right():
    # 0.29 * 100 is 28.999999999999996 in binary; 29 slices may be missed.
    assert choose_gate_threshold(np.arange(100) / 100, labels_of(*[3] * 100), max_missed=0.29) == 0.29


def test_without_positives_everything_passes():
    assert choose_gate_threshold(np.array([0.2, 0.9]), labels_of(0, 0), max_missed=0.01) == 0


def test_when_all_may_be_missed_nothing_bounds_it():
    assert choose_gate_threshold(np.array([0.2, 0.9]), labels_of(1, 2), max_missed=1) == 1


@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 5)), min_size=1, max_size=40),
    st.sampled_from([0, 0.01, 0.1, 0.25, 0.5]),
)
def test_it_is_the_largest_that_keeps_the_promise(slices, max_missed):
    p_any, labels = np.array([p for p, _ in slices], np.float32), labels_of(*(subtype for _, subtype in slices))

    def kept(threshold):
        under = p_any < threshold
        return all((labels[under, s].sum()) <= max_missed * labels[:, s].sum() for s in range(1, 6))

    threshold = choose_gate_threshold(p_any, labels, max_missed)
    assert kept(threshold)
    if labels.any():
        assert threshold == 1 or not kept(np.nextafter(threshold, 2))
