import warnings

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from ich.calibration import Calibrator, compose
from ich.evaluation.leakage import ids_sha256
from ich.evaluation.validation import calibrate
from ich.evaluation.validation.calibrators import isotonic, platt, temperature
from ich.labels import LABELS, SUBTYPES


def drawn(n, seed=0, spread=1.5, mean=-1.5):
    """True probabilities, outcomes drawn from them, and patients of about ten slices."""
    rng = np.random.default_rng(seed)
    p = expit(rng.normal(mean, spread, n))
    return p, rng.random(n) < p, rng.integers(n // 10, size=n).astype(str)


def distorted(p, slope, intercept=0.0):
    return expit(slope * logit(p) + intercept)


def test_platt_is_logistic_regression_on_logits():
    p, truth, _ = drawn(2_000)
    p = distorted(p, 1.7, 0.6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn renames its way to say "no penalty"
        reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(p)[:, None], truth)
    found = platt(truth, p)
    assert (found.slope, found.intercept) == pytest.approx((reference.coef_[0, 0], reference.intercept_[0]), rel=1e-5)


def test_temperature_is_the_best_of_all():
    p, truth, _ = drawn(2_000)
    p = distorted(p, 1.7)
    grid = np.arange(1, 3, 0.002)
    losses = [log_loss(truth, distorted(p, 1 / t)) for t in grid]
    assert temperature(truth, p).temperature == pytest.approx(grid[np.argmin(losses)], abs=0.002)


def test_isotonic_is_scikit_learns():
    p, truth, _ = drawn(3_000)
    p = p.round(2)  # ties
    reference = IsotonicRegression(y_min=1 / 3_002, y_max=3_001 / 3_002, out_of_bounds="clip").fit(p, truth)
    grid = np.linspace(0, 1, 1_001)
    assert isotonic(truth, p).apply(grid) == pytest.approx(reference.predict(grid), abs=1e-12)


def test_knots_are_few_and_close_to_all_of_them():
    p = np.linspace(0.001, 0.999, 4_000)
    truth = np.random.default_rng(0).random(4_000) < p
    every_second = isotonic(np.tile([False, True], 300), np.repeat(np.linspace(0, 1, 300), 2))
    assert len(every_second.x) == 2  # constant: the ends suffice
    assert len(isotonic(truth, p).x) <= 200
    ladder = np.arange(300)  # a step a value: the frequency at i is i / 300
    truth = np.concatenate([np.arange(300) < i for i in ladder])
    capped = isotonic(truth, np.repeat(ladder / 300, 300))
    assert len(capped.x) == 200
    assert capped.apply(ladder / 300) == pytest.approx(ladder / 300, abs=1 / 300)


def test_no_fit_where_none_exists():
    p = np.array([0.1, 0.2, 0.3, 0.8, 0.9])
    apart = np.array([0, 0, 0, 1, 1], bool)
    for fit in (temperature, platt):
        assert fit(apart, p) is None  # the steeper the better, without end
        assert fit(~apart, p) is None  # would turn the ranking round
    assert platt(np.ones(5, bool), p) is None
    assert temperature(np.array([1, 0, 1, 0, 0], bool), p) is None  # worse than chance: the flatter the better
    assert platt(np.array([1, 0, 1, 0, 0], bool), p) is None


PRIOR = calibrate.Prior(0.1, expit(logit(0.1) + 2))


@pytest.mark.parametrize(("slope", "intercept", "prior"), [(2, 0, None), (0.5, 1, None), (1, 2, PRIOR)])
def test_a_known_distortion_is_found_and_undone(slope, intercept, prior):
    p, truth, patients = drawn(6_000)
    found = calibrate.fit_label(truth, distorted(p, slope, intercept), patients, prior, seed=1)
    losses = found.cross_validated_log_loss
    assert set(losses) == {"none", "temperature", "platt", "isotonic"} | ({"prior_shift"} if prior else set())
    assert losses[found.method] <= min(losses.values()) + 1e-3
    assert losses["none"] > losses[found.method] + 0.01
    assert found.reason.startswith(f"log loss {losses[found.method]:.4f} instead of {losses['none']:.4f}")
    assert (found.n, found.positives, found.patients) == (6_000, truth.sum(), 600)
    later_p, later, _ = drawn(6_000, seed=1)
    before = distorted(later_p, slope, intercept)
    assert log_loss(later, found.apply(before)) < log_loss(later, before) - 0.01
    assert log_loss(later, found.apply(before)) == pytest.approx(log_loss(later, later_p), abs=1e-3)


def test_known_parameters_are_recovered():
    p, truth, patients = drawn(20_000)
    assert temperature(truth, distorted(p, 2)).temperature == pytest.approx(2, rel=0.05)
    found = platt(truth, distorted(p, 0.5, 1))
    assert (found.slope, found.intercept) == pytest.approx((2, -2), rel=0.05)
    found = calibrate.fit_label(truth, distorted(p, 1, 2), patients, PRIOR, seed=0)
    assert (found.method, found.shift) == ("prior_shift", pytest.approx(-2))


def test_stairs_that_no_slope_climbs_are_found_by_isotonic_regression():
    rng = np.random.default_rng(0)
    told, patients = rng.random(4_000), rng.integers(400, size=4_000).astype(str)
    truth = rng.random(4_000) < np.where(told < 0.7, 0.1, 0.8)
    found = calibrate.fit_label(truth, told, patients, None, seed=0)
    assert found.method == "isotonic"
    assert found.apply([0.1, 0.3, 0.6, 0.8, 0.95]) == pytest.approx([0.1, 0.1, 0.1, 0.8, 0.8], abs=0.05)


def test_what_is_calibrated_stays_nearly_as_it_is():
    for seed in range(5):
        p, truth, patients = drawn(4_000, seed)
        found = calibrate.fit_label(truth, p, patients, None, seed=0)
        assert found.method in ("none", "temperature", "platt")
        assert found.apply(p) == pytest.approx(p, abs=0.05)


def test_of_methods_that_are_as_good_the_simplest():
    patients = np.repeat(["a", "b", "c", "d"], 2)

    def losses(*gained):  # less than 0.5, a value a patient
        return 0.5 - np.repeat(gained, 2)

    none, chance, sure = losses(0, 0, 0, 0), losses(0.4, -0.1, -0.1, -0.1), losses(0.1, 0.1, 0.1, 0.12)
    # By hand: a mean gain of 0.025; sums of patients off it by 0.75 and three times -0.25: sqrt(0.75) / 8 = 0.108.
    assert calibrate.simplest({"none": none, "temperature": chance}, patients) == "none"
    assert calibrate.simplest({"none": none, "platt": sure}, patients) == "platt"
    assert calibrate.simplest({"none": none, "temperature": sure + 1e-7, "platt": sure}, patients) == "temperature"
    rows = np.random.default_rng(0).permutation(8)
    assert calibrate.simplest({"none": none[rows], "platt": sure[rows]}, patients[rows]) == "platt"


def test_with_too_little_nothing_is_fitted():
    p, truth, patients = drawn(200)
    nine = np.zeros(200, bool)
    nine[np.flatnonzero(truth)[:9]] = True
    found = calibrate.fit_label(nine, p, patients, None, seed=0)
    assert (found.method, set(found.cross_validated_log_loss)) == ("none", {"none"})
    assert found.reason == "positive slices are too few (9, at least 10) to fit on; left as it is"
    found = calibrate.fit_label(truth, p, np.where(truth, "1", patients), None, seed=0)
    assert found.reason.startswith("patients with positive slices are too few (1, at least 5)")
    assert calibrate.fit_label(~nine, p, patients, None, 0).reason.startswith("negative slices are too few (9,")
    nothing = calibrate.fit_label(truth[:0], p[:0], patients[:0], None, 0)
    assert (nothing.method, nothing.n) == ("none", 0)
    found = calibrate.fit_label(truth, p, patients, None, seed=0)  # under 200 positives
    assert set(found.cross_validated_log_loss) == {"none", "temperature", "platt"}


def test_with_too_little_to_fit_on_a_known_prior_is_taken_if_it_helps():
    truth, patients = np.arange(100) < 8, np.arange(100).astype(str)
    p, prior = np.where(truth, 0.6, 0.4), calibrate.Prior(0.1, 0.5)
    found = calibrate.fit_label(truth, p, patients, prior, seed=0)
    assert (found.method, found.shift) == ("prior_shift", pytest.approx(-np.log(9)))
    none, shifted = (found.cross_validated_log_loss[method] for method in ("none", "prior_shift"))
    assert none == pytest.approx(log_loss(truth, p))
    assert shifted == pytest.approx(log_loss(truth, distorted(p, 1, -np.log(9))))
    assert "corrected for the prior of the training (log loss 0.5108 with none, " in found.reason
    natural = distorted(p, 1, -np.log(9))  # as if the weights that were kept knew the natural prior already
    assert calibrate.fit_label(truth, natural, patients, prior, seed=0).method == "none"
    without_slices = calibrate.fit_label(truth[:0], p[:0], patients[:0], prior, seed=0)
    assert (without_slices.method, without_slices.cross_validated_log_loss) == ("prior_shift", {})


def test_folds_hold_whole_patients_and_alike_shares():
    _, truth, patients = drawn(3_000)
    fold = calibrate.folds(truth, patients, seed=0)
    assert all(len(set(fold[patients == name])) == 1 for name in np.unique(patients))
    positives = [truth[fold == number].sum() for number in range(5)]
    slices = [(fold == number).sum() for number in range(5)]
    assert max(positives) <= 1.03 * min(positives)
    assert max(slices) <= 1.1 * min(slices)
    shuffled = np.random.default_rng(1).permutation(3_000)
    assert np.array_equal(calibrate.folds(truth[shuffled], patients[shuffled], seed=0), fold[shuffled])
    assert not np.array_equal(calibrate.folds(truth, patients, seed=1), fold)


def six_labels(n, seed=0):
    """Slices of a cascade whose stage 2 is overconfident by a factor of 2, and which gates away P(any) under 0.1."""
    rng = np.random.default_rng(seed)
    p_any, any_, patients = drawn(n, seed)
    given = expit(rng.normal(0, 1.2, (n, 5)))
    given[p_any < 0.1] = 0.3
    truth = np.column_stack([any_, any_[:, None] & (rng.random((n, 5)) < given)])
    told = np.where(p_any[:, None] < 0.1, given, distorted(given, 2))
    return truth, compose(p_any, told), p_any >= 0.1, patients


def test_each_factor_is_calibrated_by_itself():
    truth, probabilities, gated_in, patients = six_labels(4_000)
    found = calibrate.fit(truth, probabilities, gated_in, patients, {}, seed=0)
    passed = truth[:, 0] & gated_in
    assert found["any"].n == 4_000
    for column, subtype in enumerate(SUBTYPES, start=1):
        assert (found[subtype].n, found[subtype].positives) == (passed.sum(), truth[passed, column].sum())
        slope = {"temperature": lambda c: 1 / c.temperature, "platt": lambda c: c.slope}[found[subtype].method]
        assert slope(found[subtype]) == pytest.approx(0.5, rel=0.2)


def test_the_order_of_the_slices_changes_nothing():
    data = six_labels(1_000)
    found = calibrate.fit(*data, {}, seed=0)
    shuffled = np.random.default_rng(1).permutation(1_000)
    again = calibrate.fit(*(part[shuffled] for part in data), {}, seed=0)
    for label in LABELS:
        assert again[label].method == found[label].method
        p = np.linspace(0, 1, 50)
        assert again[label].apply(p) == pytest.approx(found[label].apply(p), abs=1e-6)


class card:
    """What is read of a card."""

    def __init__(self, stages, gate="a gate", sha256="a" * 64):
        self.training, self.gate, self.file_sha256 = {"stages": stages}, gate, sha256


def stage(*labels, effective=0.5):
    return {"priors": {label: {"prevalence": 0.1, "effective_prior": effective} for label in labels}}


def test_priors_of_a_label_are_those_of_its_own_factor():
    cascade = card({"gate": stage("any"), "subtypes": stage(*SUBTYPES)})
    assert calibrate.priors_of([cascade]) == dict.fromkeys(LABELS, calibrate.Prior(0.1, 0.5))
    assert calibrate.priors_of([card({"convnext": stage(*LABELS)}, gate=None)]) == {"any": calibrate.Prior(0.1, 0.5)}
    together = {"gate": stage("any"), "subtypes": stage(*SUBTYPES), "end-to-end": stage(*LABELS)}
    assert calibrate.priors_of([card(together)]) == {}
    other = card({"gate": stage("any"), "subtypes": stage(*SUBTYPES, effective=0.4)})
    assert set(calibrate.priors_of([cascade, other])) == {"any"}
    assert calibrate.priors_of([cascade, card({"gate": stage("any", effective=1.0)})]) == {}
    older = card({"gate": {"val_loss": 0.1}})
    assert calibrate.priors_of([older]) == {}


def test_a_calibration_says_what_it_is_of(experiment):
    truth, probabilities, gated_in, patients = six_labels(1_000)
    val = Rows(truth, probabilities, gated_in, patients)
    found = calibrate.calibration_from(val, [card({}, sha256="b" * 64), card({}, sha256="a" * 64)], Seed)
    assert found.models == ("b" * 64, "a" * 64)
    assert found.fitted_on.model_dump(exclude={"image_ids_sha256"}) == {
        "split": "val",
        "slices": 1_000,
        "patients": 100,
    }
    assert found.labels == calibrate.fit(truth, probabilities, gated_in, patients, {}, seed=3)
    other = Rows(truth[::-1], probabilities[::-1], gated_in[::-1], patients[::-1], val.image_ids[::-1])
    again = calibrate.calibration_from(other, [card({})], Seed)
    assert again.fitted_on == found.fitted_on
    assert found.fitted_on.image_ids_sha256 == ids_sha256(val.image_ids)


class Seed:
    seed = 3


class Rows:
    """Predictions of validation."""

    def __init__(self, truth, probabilities, gated_in, patients, image_ids=None):
        self.truth, self.probabilities, self.gated_in, self.patients = truth, probabilities, gated_in, patients
        self.image_ids = np.array([f"ID_{n}" for n in range(len(truth))]) if image_ids is None else image_ids


def test_fitted_but_unfit_on_all_is_left_as_it_is(monkeypatch):
    p, truth, patients = drawn(500)
    monkeypatch.setattr(
        calibrate, "temperature",
        lambda truth, p: None if len(p) == 500 else Calibrator(method="temperature", temperature=2.0),
    )  # fmt: skip
    found = calibrate.fit_label(truth, distorted(p, 2), patients, None, seed=0)
    assert found.method in ("none", "platt")
