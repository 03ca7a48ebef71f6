import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ich.evaluation.operating_points import choose_gate_threshold


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
