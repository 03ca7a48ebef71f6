"""Confident learning, against the paper's definition slice by slice, and on labels that were flipped."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich.evaluation.inspection.label_errors import find, summarise
from ich.labels import LABELS


def by_definition(truth, p):
    """Confident joint and candidates as the paper writes them, one slice after the other."""
    of_class = [[1 - each for each in p], list(p)]
    thresholds = []
    for k in (0, 1):
        own = [of_class[k][x] for x in range(len(p)) if truth[x] == k]
        thresholds.append(sum(own) / len(own))
    joint, candidates = [[0, 0], [0, 0]], []
    for x in range(len(p)):
        confident = [k for k in (0, 1) if of_class[k][x] >= thresholds[k]]
        if confident:
            likeliest = max(confident, key=lambda k: of_class[k][x])
            joint[int(truth[x])][likeliest] += 1
            if likeliest != truth[x]:
                candidates.append(x)
    return joint, candidates


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 2**10)), min_size=2, max_size=40))
def test_against_the_definition(slices):
    truth = np.array([label for label, _ in slices])
    # Dyadic and never one half: sums are exact, and no slice is as likely in one class as in the other.
    p = np.array([(2 * number - 1) / 2**11 for _, number in slices])
    found = find(truth, p)
    if found.reason:
        assert not len(found.rows)
        return
    joint, candidates = by_definition(truth, p)
    if np.log2(truth.sum()) % 1 == 0 and np.log2((~truth).sum()) % 1 == 0:  # else a mean may be rounded apart
        assert found.joint.tolist() == joint
        assert sorted(found.rows) == candidates
    margin = np.where(truth, p, 1 - p) - np.where(truth, 1 - p, p)
    assert (np.diff(found.margins) >= 0).all()
    assert np.array_equal(found.margins, margin[found.rows])


def test_by_hand():
    truth = np.array([False, False, False, False, True, True, True, True])
    p = np.array([0.125, 0.125, 0.25, 1.0, 0.875, 0.75, 0.75, 0.125])
    found = find(truth, p)
    assert found.thresholds == (0.625, 0.625)
    assert found.joint.tolist() == [[3, 1], [1, 3]]
    assert found.rows.tolist() == [3, 7]
    assert found.margins.tolist() == [-1, -0.75]
    assert found.estimated == (1, 1)


@pytest.fixture(scope="module")
def flipped():
    """20,000 slices, a tenth positive; 1 % of the labels of either class were flipped."""
    rng = np.random.default_rng(0)
    right = rng.random(20_000) < 0.1
    logit = rng.normal(np.where(right, 4, -4), 1.5)
    wrong = rng.random(len(right)) < 0.01
    return right ^ wrong, 1 / (1 + np.exp(-logit)), wrong


def test_flipped_labels_are_found(flipped):
    truth, p, wrong = flipped
    found = find(truth, p)
    hit = wrong[found.rows]
    assert hit.mean() > 0.95  # precision: 0.987
    assert hit.sum() / wrong.sum() > 0.75  # recall: 0.777
    assert hit[:100].all()
    assert sum(found.estimated) == pytest.approx(wrong.sum(), rel=0.1)


def test_order_changes_nothing(flipped):
    truth, p, _ = flipped
    order = np.random.default_rng(1).permutation(len(p))
    once, again = find(truth, p), find(truth[order], p[order])
    assert set(order[again.rows]) == set(once.rows)
    assert again.estimated == pytest.approx(once.estimated)


def test_the_other_class_as_positive_finds_the_same(flipped):
    truth, p, _ = flipped
    assert set(find(~truth, 1 - p).rows) == set(find(truth, p).rows)


def test_predictions_that_agree_give_no_candidate():
    truth = np.arange(30) % 3 == 0
    for p in (truth.astype(np.float32), np.where(truth, 0.7, 0.1), np.where(truth, 0.1, 0.01)):
        found = find(truth, p)
        assert (found.reason, len(found.rows), found.estimated) == ("", 0, (0, 0))


def test_a_mean_that_is_rounded_up_leaves_its_slices_confident():
    assert np.mean([0.1] * 3) > 0.1
    truth = np.array([True] * 3 + [False] * 3)
    assert find(truth, np.where(truth, 0.1, 0.05)).joint.tolist() == [[3, 0], [0, 3]]


@pytest.mark.parametrize(
    ("truth", "p", "reason"),
    [
        ([], [], "no slice"),
        ([False] * 10, [0.1] * 10, "no positive slice"),
        ([True] * 10, [0.1] * 10, "no negative slice"),
        ([True, False] * 5, [0.1] * 10, "the mean probability of positive slices is not above that of negative ones"),
        ([True, False], [0.1, 0.9], "the mean probability of positive slices is not above that of negative ones"),
    ],
)
def test_where_the_method_cannot_be_used_there_is_a_reason_and_no_candidate(truth, p, reason):
    found = find(np.array(truth, bool), np.array(p))
    assert found.reason == reason
    assert not len(found.rows)


def test_the_summary_is_json(flipped):
    truth, p, _ = flipped
    content = summarise(np.column_stack([truth, *[np.zeros_like(truth)] * 5]), np.column_stack([p] * 6), 7)
    json.dumps(content, allow_nan=False)
    assert list(content) == list(LABELS)
    assert len(content["any"]["listed"]) == 7 < content["any"]["candidates"]
    assert np.sum(content["any"]["confident_joint"]) <= 20_000
    assert content["subdural"]["estimated"] == {"negative": None, "positive": None}
