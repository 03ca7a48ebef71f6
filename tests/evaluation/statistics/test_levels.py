import numpy as np
import pytest

from ich.errors import DataError
from ich.evaluation.statistics.levels import aggregate


def test_by_hand_positive_if_any_is_and_the_largest_probability():
    truth = np.array([[1, 0], [0, 0], [0, 1], [0, 0]], bool)
    probabilities = np.array([[0.2, 0.1], [0.9, 0.3], [0.5, 0.4], [0.1, 0.6]], np.float32)
    units = aggregate(truth, probabilities, np.array(["s2", "s1", "s2", "s1"]), np.array(["b", "a", "b", "a"]))
    assert units.names.tolist() == ["s1", "s2"]
    assert units.patients.tolist() == ["a", "b"]
    assert units.truth.tolist() == [[False, False], [True, True]]
    assert units.probabilities.tolist() == np.array([[0.9, 0.6], [0.5, 0.4]], np.float32).tolist()
    assert units.probabilities.dtype == np.float32
    assert units.members.tolist() == [2, 2]


def test_equals_a_loop_and_keeps_any_over_the_subtypes():
    rng = np.random.default_rng(0)
    truth, probabilities = rng.random((500, 6)) < 0.1, rng.random((500, 6))
    probabilities[:, 0] = probabilities.max(axis=1)
    series = rng.integers(0, 60, 500)
    units = aggregate(truth, probabilities, series.astype(str), (series // 2).astype(str))
    for name, patient, positive, probability, members in zip(*units, strict=True):
        rows = series == int(name)
        assert (patient, members) == (str(int(name) // 2), rows.sum())
        assert (positive == truth[rows].any(axis=0)).all()
        assert (probability == probabilities[rows].max(axis=0)).all()
    assert (units.probabilities[:, :1] >= units.probabilities).all()


def test_slices_without_series_are_series_of_their_own():
    truth, probabilities = np.zeros((3, 6), bool), np.zeros((3, 6))
    assert (
        aggregate(truth, probabilities, np.array(["", "s", ""]), np.array(["a", "a", "a"])).members.tolist() == [1] * 3
    )


def test_a_series_of_two_patients_is_refused():
    with pytest.raises(DataError, match="series s1 has slices of more than one patient"):
        aggregate(np.zeros((2, 6), bool), np.zeros((2, 6)), np.array(["s1", "s1"]), np.array(["a", "b"]))


def test_of_nothing_is_nothing():
    none = np.empty(0, str)
    assert len(aggregate(np.zeros((0, 6), bool), np.zeros((0, 6)), none, none).names) == 0
