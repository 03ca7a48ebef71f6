import numpy as np

from ich.training.samples import sample_rows, sample_table


def test_half_of_the_watched_slices_are_positive_and_they_come_from_all_over():
    targets = np.zeros((100, 2), int)
    targets[50:, 1] = 1
    rows = sample_rows(targets)
    assert rows.tolist() == [0, 16, 33, 49, 50, 66, 83, 99]
    assert np.array_equal(rows, sample_rows(targets))


def test_where_there_are_few_all_are_watched():
    assert sample_rows(np.array([[0], [1], [0]])).tolist() == [0, 1, 2]
    assert sample_rows(np.ones((20, 1), int)).tolist() == [0, 6, 13, 19]


def test_positive_labels_are_bold():
    told = sample_table(["ID_a"], ["any", "epidural"], np.array([[1, 0]]), np.array([[0.91, 0.1]]))
    assert told.splitlines()[2:] == ["| slice | any | epidural |", "|---|---|---|", "| ID_a | **0.910** | 0.100 |"]
