"""Errors to look at, by hand and by brute force."""

import json

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ich.evaluation.inspection.mistakes import FALSE_NEGATIVE, FALSE_POSITIVE, confident, isolated
from ich.evaluation.inspection.to_look_at import find
from ich.evaluation.statistics.sample import Sample
from ich.labels import LABELS


def columns(of_any):
    """(n, 6), the other labels False or 0."""
    values = np.asarray(of_any)
    return np.column_stack([values, *[np.zeros_like(values)] * 5])


def test_none_is_shown_where_none_is_asked_for_and_one_of_each_where_one_is():
    truth = columns([False, True, False, False, True, False])
    p = np.where(truth, 0.1, 0.9) * [1, 0, 0, 0, 0, 0]
    p[:, 0] = [0.1, 0.9, 0.1, 0.9, 0.1, 0.9]
    sample = Sample(truth, p, p >= 0.5, np.array(list("aaabbb")))
    places = pl.DataFrame({"series": list("sssttt"), "slice_index": [0, 1, 2] * 2})
    shown = {}
    for number in (0, 1, 4):
        found = find(sample, np.array([f"ID_{row}" for row in range(6)]), places, number)
        alone = found["isolated"]["labels"]["any"]["labelled"]
        assert alone["isolated"] == 2  # counted, whatever is shown
        shown[number] = (len(found["confident"]), len(alone["examples"]))
    assert shown == {0: (0, 0), 1: (2, 1), 4: (3, 2)}


def test_the_worst_of_each_patient_comes_before_any_second():
    truth = columns([False, False, False, True, True, True, True])
    p = columns([0.9, 0.95, 0.7, 0.2, 0.1, 0.05, 0.8])
    patients = np.array(["a", "a", "b", "a", "c", "c", "c"])
    found = confident(truth, p, p >= 0.5, patients, 2)
    assert [(each.row, each.kind) for each in found if each.label == "any"] == [
        (1, FALSE_POSITIVE), (2, FALSE_POSITIVE), (5, FALSE_NEGATIVE), (3, FALSE_NEGATIVE),
    ]  # fmt: skip
    assert found[0].probability == 0.95
    assert not [each for each in found if each.label != "any"]
    every = confident(truth, p, p >= 0.5, patients, 99)
    assert [each.row for each in every] == [1, 2, 0, 5, 3, 4]
    json.dumps([each._asdict() for each in every])
    assert not confident(truth, p, truth, patients, 9)


def test_positives_that_stand_alone_by_hand():
    # Series x in its order: rows 3 0 1 4 2, then row 5 alone in y, and row 6 without a place.
    places = pl.DataFrame(
        {"series": ["x", "x", "x", "x", "x", "y", None], "slice_index": [1, 2, 4, 0, 3, 0, None]},
        {"series": pl.String, "slice_index": pl.Int32},
    )
    labelled = columns([True, False, True, False, True, True, True])  # in order: 0 1 0 1 1
    called = columns([False, True, False, True, False, True, False])  # in order: 1 0 1 0 0
    patients = np.array(["p"] * 7)
    found = isolated(labelled, called, patients, places, 5)
    assert found["judged"] == 3
    assert found["labels"]["any"]["labelled"] == {"isolated": 1, "positives": 2, "rows": [0]}
    assert found["labels"]["any"]["called"] == {"isolated": 1, "positives": 1, "rows": [1]}
    assert found["labels"]["subdural"]["called"] == {"isolated": 0, "positives": 0, "rows": []}


@given(st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 8)), unique=True), st.integers(0, 2**16))
def test_positives_that_stand_alone_against_a_search(slices, seed):
    rng = np.random.default_rng(seed)
    truth = rng.random((len(slices), 6)) < 0.4
    places = pl.DataFrame(slices, {"series": pl.String, "slice_index": pl.Int32}, orient="row")
    row_at = {slice_: row for row, slice_ in enumerate(slices)}
    found = isolated(truth, ~truth, np.array(["p"] * len(slices), str), places, 99)
    json.dumps(found)
    for column, label in enumerate(LABELS):
        for kind, values in (("labelled", truth[:, column]), ("called", ~truth[:, column])):
            alone = []
            for (series, place), row in row_at.items():
                beside = [row_at.get((series, place - 1)), row_at.get((series, place + 1))]
                if values[row] and None not in beside and not values[beside].any():
                    alone.append(row)
            assert found["labels"][label][kind]["rows"] == sorted(alone)


def test_without_a_place_nothing_is_judged():
    truth, patients = np.ones((10, 6), bool), np.array(list("abcdefghij"))
    assert isolated(truth, truth, patients, pl.DataFrame({"ImageID": patients}), 5)["reason"] == (
        "the ledger has no series"
    )
    nulls = pl.DataFrame(
        {"series": [None] * 10, "slice_index": [None] * 10}, {"series": pl.String, "slice_index": pl.Int32}
    )
    found = isolated(truth, truth, patients, nulls, 5)
    assert found["reason"] == "no slice has both neighbours here"
    assert found["labels"]["any"]["called"]["isolated"] == 0
