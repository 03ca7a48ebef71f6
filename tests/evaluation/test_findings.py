"""Levels and what figures are held against, by hand."""

import numpy as np

from ich.evaluation.findings import at_levels
from ich.evaluation.references import compare_with_baseline, subtypes_among_positives
from ich.evaluation.statistics.sample import Sample


def test_series_are_parted_by_patient_though_names_with_spaces_read_the_same():
    patients, series = np.array(["a b", "a", "a", "c", "c2"]), np.array(["c", "b c", "b c", "same", "same"])
    truth = np.array([[1], [0], [1], [0], [1]], bool).repeat(6, axis=1)
    found = at_levels(truth, truth / 2, series, patients)
    assert [len(found[level]) for level in ("slice", "series", "patient")] == [5, 4, 4]
    for level in ("series", "patient"):
        whose = dict(zip(found[level].patients.tolist(), found[level].truth[:, 0].tolist(), strict=True))
        assert whose == {"a b": True, "a": True, "c": False, "c2": True}


def test_reasons_name_the_level():
    truth = np.zeros((4, 6), bool)
    truth[:2, 0] = True
    studies = Sample(truth, truth / 2, truth, np.array(list("abcd")), "study")
    subtypes = subtypes_among_positives(studies, 10, np.random.default_rng(0))["subtypes"]
    assert {each["model"]["reason"] for each in subtypes.values()} == {"no positive study"}
    unreadable = compare_with_baseline(studies, np.full(4, np.nan), 10, np.random.default_rng(0))
    assert unreadable["baseline"]["reason"] == "no study"
