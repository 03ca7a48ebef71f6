"""What the page shows of what metrics.json holds."""

import numpy as np
import polars as pl

from ich.evaluation import cards, report
from ich.evaluation.inspection import to_look_at
from ich.evaluation.statistics.sample import Sample
from ich.labels import LABELS


def test_any_repair_repeats_a_lone_kind_of_repair_but_not_two():
    def shown(*kinds):
        names = ["none", "any repair", *kinds]
        content = {"subgroups": {"groups": [{"by": "repair", "name": name} for name in names]}}
        return [each["name"] for each in report._subgroup_rows(content)["repair"]]

    assert shown("sign") == ["none", "sign"]
    assert shown("padding", "sign") == ["none", "any repair", "padding", "sign"]
    assert report._subgroup_rows({"subgroups": None}) == {}


def test_errors_among_studies_leave_out_what_needs_slices():
    rng = np.random.default_rng(0)
    truth = rng.random((60, 6)) < 0.4
    p = np.clip(truth * 0.3 + rng.random(truth.shape) * 0.6, 0, 1)
    names = np.arange(60).astype(str)
    sample = Sample(truth, p, p > 0.5, names, "study")
    found = to_look_at.find(sample, names, pl.DataFrame({"ImageID": names}), 3)
    groups = {each["title"]: each for each in cards.mistakes({"mistakes": found, "phantom": False}, sample, None)}
    assert list(groups) == ["Most confident errors", "Likely label errors"]
    suspected = groups["Likely label errors"]
    assert suspected["table"]["head"][2:] == [
        "Estimated: positive, labelled negative", "Estimated: negative, labelled positive",
    ]  # fmt: skip
    assert {len(row) for row in suspected["table"]["rows"]} == {4}
    assert "Studies that the model is as sure about" in suspected["note"]
    one_class = Sample(truth & (np.array(LABELS) != "epidural"), p, p > 0.5, names, "study")
    found = to_look_at.find(one_class, names, pl.DataFrame({"ImageID": names}), 3)
    table = cards.mistakes({"mistakes": found, "phantom": True}, one_class, None)[-1]["table"]
    assert table["head"][-1] == "Why none"
    assert table["rows"][1][-1] == "no positive study"
