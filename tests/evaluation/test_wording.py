"""What is said of thresholds, where they are from validation, a number, or nothing at all."""

import pytest

from ich.evaluation import wording
from ich.labels import LABELS

FIXED = "a fixed 0.5, as there are no validation data"


def thresholds(*of):
    return {label: {"value": value, "source": source} for label, (value, source) in zip(LABELS, of, strict=True)}


@pytest.mark.parametrize(
    ("source", "short"),
    [
        ("validation (Youden)", "Youden, validation"),
        ("the config", "the config"),
        (FIXED, "fixed: no validation data"),
        ("a fixed 0.5, as validation holds no positive slice", "fixed: validation holds no positive slice"),
        ("calibration.json: validation (Youden)", "calibration.json: Youden, validation"),
    ],
)
def test_origin(source, short):
    assert wording.at_threshold({"value": 0.96612, "source": source}) == f"at 0.966 ({short})"


@pytest.mark.parametrize(
    ("of", "sentence"),
    [
        ([(0.5, FIXED)] * 6, "All six thresholds are fixed at 0.5, as there are no validation data."),
        ([(0.3, "the config")] * 6, "All six thresholds are 0.3, from the config."),
        ([(0.1 * k, "validation (Youden)") for k in range(6)], "All six thresholds come from validation (Youden)."),
        ([(0.5, "a"), *[(0.2, "b")] * 5], f"Thresholds: any from a; {', '.join(LABELS[1:])} from b."),
    ],
)
def test_sentence(of, sentence):
    assert wording.thresholds_told(thresholds(*of)) == sentence


@pytest.mark.parametrize(
    ("values", "incoherent", "begins"),
    [
        ((0.5,) * 6, 3, "Therefore 2 of 9 test slices"),
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 3, "Therefore, and as each label has its own threshold, 2 of 9 test"),
        ((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), 0, "Each label has its own threshold, so that decisions may contradict"),
    ],
)
def test_contradictions_have_the_reason_that_is_true(values, incoherent, begins):
    content = {
        "levels": ["slice"], "incoherent": incoherent, "thresholds": {"slice": thresholds(*((v, "x") for v in values))},
        "splits": {"test": {"levels": {"slice": {"n": 9, "subtype_called_without_any": 2}}}},
    }  # fmt: skip
    assert wording.contradictions(content).startswith(begins)


def test_what_was_chosen_on_which_data():
    flat, gated = {"gate": None}, {"gate": {"threshold": 0.1, "chosen": "on 80 validation slices: the largest"}}
    by_hand = {"gate": {"threshold": 0.1, "chosen": "fixed by the config"}}
    content = {
        "levels": ["slice"], "trained_here": True, "models": [gated],
        "thresholds": {"slice": thresholds(*[(0.5, FIXED)] * 6)},
        "splits": {"val": {"levels": {"slice": {"n": 80, "patients": 8}}}},
        "calibration": {"fitted_on": {"slices": 79, "patients": 7}},
    }  # fmt: skip
    assert [tuple(row.values()) for row in wording.chosen_on(content, plateau=True)] == [
        ("Early stopping and learning rate", "validation", 80, 8), ("Gate's threshold", "validation", 80, 8),
        ("Calibration", "validation", 79, 7), ("Thresholds", "fixed: no validation data", None, None),
    ]  # fmt: skip
    others = content | {"trained_here": False, "models": [flat, by_hand], "calibration": None}
    assert [tuple(row.values())[:3] for row in wording.chosen_on(others, plateau=True)][:2] == [
        ("Early stopping", "validation of each model's training", None),
        ("Gate's threshold", "fixed by the config", None),
    ]  # fmt: skip
    of_file = content | {"models": [], "calibration": None, "trained_here": False}
    assert [row["what"] for row in wording.chosen_on(of_file, plateau=False)] == ["Thresholds"]
