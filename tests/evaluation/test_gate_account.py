"""The gate's own account, against counting one by one and figures worked by hand."""

import itertools
import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from ich.evaluation.compute import Compute
from ich.evaluation.gating import GRID, account, compare, curve
from ich.evaluation.predictions import Scored
from ich.labels import LABELS, SUBTYPES


def rng():
    return np.random.default_rng(5)


def scored(slices=300, patients=30, threshold=0.2, seed=0):
    """A gate that keeps away positives too, and a prevalence of 0.2 for what it keeps away."""
    draw = np.random.default_rng(seed)
    truth = draw.random((slices, 6)) < 0.2
    truth[:, 0] = truth[:, 1:].any(axis=1)
    p_any = np.clip(0.1 * truth[:, 0] + draw.random(slices) * 0.9, 0, 1).astype(np.float32)
    given = np.clip(0.5 * truth[:, 1:] + draw.random((slices, 5)) * 0.5, 0, 1).astype(np.float32)
    gated_in = p_any >= threshold
    ungated = np.column_stack([p_any, p_any[:, None] * given])
    gated = np.where(gated_in[:, None], ungated, np.column_stack([p_any, *[p_any * np.float32(0.2)] * 5]))
    names = np.array([f"p{number % patients}" for number in range(slices)])
    return Scored(names, names, names, truth, gated, gated_in, ungated)


def test_the_gates_account_by_hand():
    truth = np.zeros((4, 6), bool)
    truth[0, [0, 5]] = truth[1, [0, 5]] = True
    told = account(truth, np.array([True, False, False, True]), np.array(list("abcd")), 100, rng())
    assert (told["slices"], told["gated_away"]) == (4, 2)
    found = told["labels"]["any"]
    assert (found["missed"], found["positives"], found["share"]["value"]) == (1, 2, 0.5)
    exact = stats.binomtest(1, 2).proportion_ci(method="exact")  # each slice is another patient
    assert (found["share"]["low"], found["share"]["high"]) == pytest.approx((exact.low, exact.high))
    nothing = {"value": None, "low": None, "high": None, "reason": "no positive slice"}
    assert told["labels"]["epidural"] == {"missed": 0, "positives": 0, "share": nothing}


def test_intervals_of_the_account_draw_patients():
    sample = scored(slices=60, patients=8)
    told = account(sample.truth, sample.gated_in, sample.patients, 300, rng())
    codes, away = np.array([int(name[1:]) for name in sample.patients]), ~sample.gated_in
    of_any, of_all = [], []
    for who in rng().integers(8, size=(300, 8)):
        rows = np.concatenate([np.flatnonzero(codes == patient) for patient in who])
        of_any.append(away[rows][sample.truth[rows, 0]].mean())
        of_all.append(away[rows].mean())
    for share, drawn in ((told["labels"]["any"]["share"], of_any), (told["share"], of_all)):
        assert (share["low"], share["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
        assert share["low"] < share["value"] < share["high"]
    nothing_missed = account(sample.truth, np.ones(60, bool), sample.patients, 300, rng())["labels"]["any"]["share"]
    assert (nothing_missed["value"], nothing_missed["low"]) == (0, 0)
    assert 0 < nothing_missed["high"] < 1  # of 8 patients, which is not certainty


def test_the_curve_counts_what_each_gate_would_keep_away():
    sample = scored(slices=60)
    for row in curve(sample.truth, sample.probabilities[:, 0], chosen=0.2):
        away = [p < np.float32(row["threshold"]) for p in sample.probabilities[:, 0]]
        assert row["slices_in"] == 60 - sum(away)
        assert row["share_in"] == row["slices_in"] / row["slices"]
        for column, label in enumerate(LABELS):
            missed = sum(bool(truth) and gone for truth, gone in zip(sample.truth[:, column], away, strict=True))
            assert row["missed"][label]["missed"] == missed
            assert row["missed"][label]["share"] == missed / sample.truth[:, column].sum()
        assert row["saved"] is None


def test_the_curve_at_the_chosen_threshold_is_the_account_of_the_gate():
    # In float64 this threshold is above the float32 number 0.1, in float32, in which the detector compares, it is that.
    threshold = 0.1 + 2e-9
    assert float(np.float32(0.1)) < threshold
    truth, p_any = np.ones((3, 6), bool), np.array([0.1, 0.05, 0.5], np.float32)
    gated_in = p_any >= threshold
    assert gated_in.tolist() == [True, False, True]
    rows = curve(truth, p_any, threshold)
    (chosen,) = [row for row in rows if row["chosen"]]
    told = account(truth, gated_in, np.array(["a", "b", "c"]), 0, rng())
    assert chosen["slices"] - chosen["slices_in"] == told["gated_away"] == 1
    assert len(rows) == len(GRID) + 1


def test_a_higher_gate_lets_less_through_misses_more_and_saves_more():
    sample = scored()
    rows = curve(sample.truth, sample.probabilities[:, 0], compute=Compute(1.0, 3.0))
    assert (rows[0]["threshold"], rows[0]["share_in"], rows[0]["saved"]) == (0, 1, 0)
    assert rows[-1]["threshold"] == 1
    for before, after in itertools.pairwise(rows):
        assert before["threshold"] < after["threshold"]
        assert before["share_in"] >= after["share_in"]
        assert before["saved"] <= after["saved"]
        assert all(before["missed"][label]["missed"] <= after["missed"][label]["missed"] for label in LABELS)
    assert rows[-1]["saved"] == pytest.approx(0.75 * (1 - rows[-1]["share_in"]))


def test_what_the_gate_costs_against_scikit_learn():
    sample = scored()
    found = compare(sample, 200, rng)
    assert found["gated_away"] == (~sample.gated_in).sum() > 10
    losses = {"gated": [], "ungated": []}
    for column in range(6):
        truth = sample.truth[:, column]
        for name, p in (("gated", sample.probabilities), ("ungated", sample.ungated)):
            losses[name].append(log_loss(truth, p[:, column].astype(float), labels=[0, 1]))
            if column:
                each = found["subtypes"][LABELS[column]]
                assert each["log_loss"][name]["value"] == pytest.approx(losses[name][-1], rel=1e-5)
                assert each["auroc"][name]["value"] == pytest.approx(roc_auc_score(truth, p[:, column]))
    weights = [2, 1, 1, 1, 1, 1]
    for name in ("gated", "ungated"):
        expected = np.average(losses[name], weights=weights)
        assert found["weighted_log_loss"][name]["value"] == pytest.approx(expected, rel=1e-5)
    for figure in (found["weighted_log_loss"], *(each["auroc"] for each in found["subtypes"].values())):
        difference = figure["difference"]
        assert difference["value"] == pytest.approx(figure["gated"]["value"] - figure["ungated"]["value"])
        assert difference["low"] <= difference["value"] <= difference["high"]


def test_the_interval_of_the_difference_draws_the_same_patients_for_both():
    sample = scored(slices=40, patients=8)
    codes = np.array([int(name[1:]) for name in sample.patients])

    def loss(p, truth):
        return -np.where(truth, np.log(p), np.log1p(-p)).mean()

    both = sample.probabilities[:, 2].astype(float), sample.ungated[:, 2].astype(float)
    drawn = []
    for who in rng().integers(8, size=(100, 8)):
        rows = np.concatenate([np.flatnonzero(codes == patient) for patient in who])
        drawn.append(loss(both[0][rows], sample.truth[rows, 2]) - loss(both[1][rows], sample.truth[rows, 2]))
    figure = compare(sample, 100, rng)["subtypes"][LABELS[2]]["log_loss"]["difference"]
    assert (figure["low"], figure["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_without_a_gate_nothing_differs():
    sample = scored()
    flat = sample._replace(probabilities=sample.ungated, gated_in=np.ones(len(sample.truth), bool))
    figure = compare(flat, 50, rng)["weighted_log_loss"]["difference"]
    assert (figure["value"], figure["low"]) == (0, None)
    assert figure["reason"].startswith("no interval: the same in every replicate")


def test_hostile_samples_get_a_reason():
    sample = scored(slices=10, patients=10)
    one_class = compare(sample._replace(truth=np.zeros((10, 6), bool)), 20, rng)
    assert {each["auroc"]["gated"]["reason"] for each in one_class["subtypes"].values()} == {"no positive slice"}
    assert one_class["weighted_log_loss"]["gated"]["value"] > 0
    unknown = sample.ungated.copy()
    unknown[:, 1:] = np.nan
    assert compare(sample._replace(ungated=unknown), 20, rng)["reason"].startswith("stage 2 ran only on")
    none = Scored(*(field[:0] for field in sample))
    assert compare(none, 20, rng)["reason"] == "no slice"
    (row, *_) = curve(none.truth, none.probabilities[:, 0], compute=Compute(1, 1))
    assert (row["share_in"], row["saved"], row["missed"]["any"]["share"]) == (None, None, None)
    for content in (one_class, row, curve(sample.truth, sample.probabilities[:, 0])):
        json.dumps(content, allow_nan=False)
    assert set(one_class["subtypes"]) == set(SUBTYPES)
