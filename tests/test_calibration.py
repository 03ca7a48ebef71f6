import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from ich.calibration import (
    Calibration,
    Calibrator,
    FittedOn,
    Threshold,
    calibration_path,
    compose,
    factors,
    find_calibration,
    read_calibration,
    write_calibration,
)
from ich.errors import DataError
from ich.labels import LABELS

NONE = Calibrator(method="none")
OF_EACH_METHOD = {
    "none": NONE,
    "prior_shift": Calibrator(method="prior_shift", shift=-2.5),
    "temperature": Calibrator(method="temperature", temperature=2.0),
    "platt": Calibrator(method="platt", slope=0.5, intercept=1.0),
    "isotonic": Calibrator(method="isotonic", x=(0.1, 0.3, 0.7), y=(0.05, 0.05, 0.9)),
}


def calibration(*calibrators, models=("a" * 64,), split="val"):
    """Of any and the five subtypes; the last one given is that of the rest."""
    each = [*calibrators, *[calibrators[-1]] * (len(LABELS) - len(calibrators))]
    fitted_on = FittedOn.model_construct(split=split, slices=10, patients=3, image_ids_sha256="0")
    return Calibration.model_construct(
        models=models, fitted_on=fitted_on, labels=dict(zip(LABELS, each, strict=True)), operating_points={},
        provenance={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "p", "expected"),
    [
        ("none", 0.3, 0.3),
        ("prior_shift", 0.5, 1 / (1 + np.exp(2.5))),
        ("temperature", 0.8, 2 / 3),  # odds 4 to odds 2
        ("platt", 0.8, 2 * np.e / (1 + 2 * np.e)),
        ("isotonic", 0.2, 0.05),
        ("isotonic", 0.5, 0.475),
        ("isotonic", 0.99, 0.9),
    ],
)
def test_known_values(method, p, expected):
    assert OF_EACH_METHOD[method].apply(p) == pytest.approx(expected)


def test_a_prior_shift_is_bayes_rule():
    # Trained on as many positives as negatives, used where 10 % are positive: the odds become a ninth.
    shift = np.log(0.1 / 0.9) - np.log(0.5 / 0.5)
    p = np.array([0.5, 0.9])
    assert Calibrator(method="prior_shift", shift=shift).apply(p) == pytest.approx([0.1, 0.5])


@pytest.mark.parametrize("method", OF_EACH_METHOD)
def test_every_method_keeps_the_order_and_the_range(method):
    p = np.sort(np.concatenate([[0, 1e-30, 1e-7, 1 - 6e-8, 1], np.random.default_rng(0).random(200)]))
    found = OF_EACH_METHOD[method].apply(p)
    assert np.all(np.diff(found) >= 0)
    assert np.all((found >= 0) & (found <= 1))
    extremes = {"none": (0, 1), "isotonic": (0.05, 0.9)}.get(method)
    if extremes:
        assert (found[0], found[-1]) == extremes
    else:
        assert 0 < found[0] < found[-1] < 1


def test_extreme_parameters_do_not_overflow():
    steep = Calibrator(method="platt", slope=20.0, intercept=1e6)
    assert steep.apply([0.0, 1.0]) == pytest.approx([1 - 1e-7] * 2)


def test_factors_by_hand():
    p = np.array([[0.5, 0.25, 0.5, 0, 0.1, 0.05], [0, 0, 0, 0, 0, 0]], np.float32)
    p_any, given = factors(p)
    assert given == pytest.approx(np.array([[0.5, 1, 0, 0.2, 0.1], [0] * 5]), abs=1e-7)
    assert np.array_equal(compose(p_any, given), p)
    assert compose(p_any, given).dtype == np.float32


UNITS = st.floats(0, 1, width=32)


@given(
    arrays(np.float32, st.tuples(st.integers(1, 8), st.just(6)), elements=UNITS),
    st.lists(st.sampled_from(list(OF_EACH_METHOD)), min_size=6, max_size=6),
)
def test_whatever_the_calibrators_any_stays_at_least_as_likely_as_each_subtype(p, methods):
    p[:, 0] = p.max(axis=1)
    of_all = calibration(*(OF_EACH_METHOD[method] for method in methods))
    gated_in = np.arange(len(p)) % 2 == 0
    found = of_all.apply(p, gated_in)
    assert found.dtype == np.float32
    assert np.all((found >= 0) & (found <= 1))
    assert np.all(found[:, :1] >= found)
    assert np.array_equal(calibration(NONE).apply(p, gated_in), p)  # nothing is lost on the way to factors and back
    backwards = of_all.apply(p[::-1], gated_in[::-1])[::-1]
    assert np.array_equal(found, backwards)


def test_slices_that_were_gated_away_keep_their_conditional_probabilities():
    p = np.tile(np.array([0.8, 0.4, 0.4, 0.4, 0.4, 0.4], np.float32), (2, 1))
    found = calibration(OF_EACH_METHOD["temperature"], Calibrator(method="prior_shift", shift=np.log(3))).apply(
        p, np.array([True, False])
    )
    # any: odds 4 to 2; a subtype given any: 1/2 to odds 3.
    assert found[0] == pytest.approx([2 / 3] + [2 / 3 * 3 / 4] * 5)
    assert found[1] == pytest.approx([2 / 3] + [2 / 3 * 1 / 2] * 5)


def test_written_and_read_again(tmp_path):
    threshold = Threshold(value=0.25, source="validation (Youden)", tp=3, fp=1, tn=4, fn=0)
    written = calibration(*OF_EACH_METHOD.values(), models=("b" * 64, "a" * 64)).model_copy(
        update={"operating_points": {"slice": {"youden": dict.fromkeys(LABELS, threshold)}}, "provenance": {"x": "y"}}
    )
    path = calibration_path(tmp_path / "cascade_final.keras")
    assert path.name == "cascade_final_calibration.json"
    write_calibration(path, written)
    found = read_calibration(path, ["a" * 64, "b" * 64])  # in any order
    assert found.model_dump() == written.model_dump()
    point = found.operating_points["slice"]["youden"]["any"]
    assert (point.sensitivity, point.specificity) == (1, 0.8)


def test_files_that_must_not_be_used(tmp_path):
    path = tmp_path / "calibration.json"
    with pytest.raises(DataError, match=r"calibration\.json does not exist"):
        read_calibration(path, ["a" * 64])
    write_calibration(path, calibration(NONE))
    for others in (["c" * 64], ["a" * 64, "c" * 64], ["a" * 64] * 2):
        with pytest.raises(
            DataError, match="is the calibration of the model with SHA-256 aaaaaaaaaaaa, not of"
        ) as told:
            read_calibration(path, others)
        assert "\n" not in str(told.value)
    whole = json.loads(path.read_text())
    faults = {
        "fitted_on.split: Input should be 'val', got test": whole
        | {"fitted_on": whole["fitted_on"] | {"split": "test"}},
        "labels must be any, ": whole | {"labels": {"any": whole["labels"]["any"]}},
        "labels.any: shift belongs to prior_shift": whole
        | {"labels": whole["labels"] | {"any": {"method": "none", "shift": 1.0}}},
        "models": whole | {"models": []},
        "Invalid JSON": None,
    }
    for message, content in faults.items():
        path.write_text("{" if content is None else json.dumps(content))
        with pytest.raises(DataError, match=r"is not a calibration fitted on validation data") as told:
            read_calibration(path, ["a" * 64])
        assert message in str(told.value)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "parameters",
    [
        {"method": "temperature"},
        {"method": "temperature", "temperature": 0.0},
        {"method": "temperature", "temperature": float("nan")},
        {"method": "platt", "slope": -1.0, "intercept": 0.0},
        {"method": "isotonic", "x": (0.1, 0.1), "y": (0.1, 0.2)},
        {"method": "isotonic", "x": (0.1, 0.2), "y": (0.2, 0.1)},
        {"method": "isotonic", "x": (0.1,), "y": (0.2, 0.3)},
        {"method": "isotonic", "x": tuple(np.linspace(0, 1, 201).tolist()), "y": (0.5,) * 201},
    ],
)
def test_what_is_no_calibrator(parameters):
    with pytest.raises(ValidationError):
        Calibrator(**parameters)


def test_which_calibration_belongs_to_models(tmp_path):
    model, other = tmp_path / "m.keras", tmp_path / "n.keras"
    nothing, about = find_calibration([model], ["a" * 64])
    assert nothing is None
    assert about["reason"] == "no m_calibration.json beside the model; `ich evaluate` writes it"
    write_calibration(calibration_path(model), calibration(NONE))
    beside, about = find_calibration([model], ["a" * 64])
    assert beside is not None
    assert (about["applied"], about["file"]) == (True, str(tmp_path / "m_calibration.json"))
    assert find_calibration([model], ["a" * 64], calibration_path(model)).calibration is not None
    off, about = find_calibration([model], ["a" * 64], type(model)("none"))
    assert (off, about["applied"]) == (None, False)
    several, about = find_calibration([model, other], ["a" * 64, "b" * 64])
    assert several is None
    assert "the mean of several models needs --calibration FILE" in about["reason"]
    with pytest.raises(DataError, match="not of the mean of the models"):
        find_calibration([model, other], ["a" * 64, "b" * 64], calibration_path(model))
    with pytest.raises(DataError, match="not of the model with SHA-256 bbbbbbbbbbbb"):
        find_calibration([model], ["b" * 64])  # the model was trained again since
