"""Subgroups from headers: who is in which, and their figures against scikit-learn."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, recall_score, roc_auc_score

from ich.config import Experiment
from ich.evaluation.inspection import slice_headers
from ich.evaluation.inspection.subgroups import groups, summarise
from ich.evaluation.statistics.results import Sample
from ich.workspace import Workspace

SCHEMA = {
    "series": pl.String, "slice_index": pl.Int32, "slice_spacing_mm": pl.Float64, "slices_in_series": pl.Int32,
    "bits_stored": pl.Int32, "signed": pl.Boolean, "manufacturer": pl.String, "repairs": pl.List(pl.String),
}  # fmt: skip


def headers(**columns):
    return pl.DataFrame(columns, {name: SCHEMA[name] for name in columns})


def members(table):
    return {(group.by, group.name): np.flatnonzero(group.rows).tolist() for group in groups(table)[0]}


def rng():
    return np.random.default_rng(3)


def test_bit_depth_and_spacing():
    found = members(headers(
        bits_stored=[12, 16, 16, 12, None], signed=[False, True, True, False, True],
        slice_spacing_mm=[1.5, 1.51, 6.0, 6.01, float("nan")],
    ))  # fmt: skip
    assert found == {
        ("bit depth", "12 bits, unsigned"): [0, 3], ("bit depth", "16 bits, signed"): [1, 2],
        ("bit depth", "not known"): [4],
        ("slice spacing", "to 1.5 mm"): [0], ("slice spacing", "over 1.5 to 3.5 mm"): [1],
        ("slice spacing", "over 3.5 to 6 mm"): [2], ("slice spacing", "over 6 mm"): [3],
        ("slice spacing", "not known"): [4],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("slices", "thirds"), [(1, "m"), (2, "lh"), (3, "lmh"), (4, "lmmh"), (6, "llmmhh"), (7, "llmmmhh")]
)
def test_thirds_of_a_series(slices, thirds):
    found = members(headers(slice_index=list(range(slices)), slices_in_series=[slices] * slices))
    for name in ("lowest", "middle", "highest"):
        expected = [place for place, letter in enumerate(thirds) if letter == name[0]]
        assert found.get(("third of the series", name), []) == expected


def test_a_slice_with_two_repairs_is_in_both_groups():
    found = members(headers(repairs=[[], ["sign"], ["sign", "padding"], None]))
    assert found == {
        ("repair", "none"): [0], ("repair", "any repair"): [1, 2], ("repair", "sign"): [1, 2],
        ("repair", "padding"): [2], ("repair", "not known"): [3],
    }  # fmt: skip


def test_rare_manufacturers_are_together_and_spelling_does_not_matter():
    names = [f"M{number}" for number in range(9) for _ in range(9 - number)] + [" m0 ", "", None]
    found = members(headers(manufacturer=names))
    assert found["manufacturer", "M0"] == [*range(9), 45]
    assert found["manufacturer", "others"] == [44]
    assert found["manufacturer", "not known"] == [46, 47]
    assert len(found) == 10


def test_what_the_ledger_lacks_is_left_out_with_a_reason():
    found, left_out = groups(headers(slice_spacing_mm=[float("nan")] * 3, manufacturer=[None] * 3))
    assert not found
    assert left_out == {
        "bit depth": "no slice has bits_stored in the ledger",
        "slice spacing": "no slice has slice_spacing_mm in the ledger",
        "third of the series": "no slice has slice_index in the ledger",
        "manufacturer": "no slice has manufacturer in the ledger",
        "repair": "no slice has repairs in the ledger",
    }


def sample(slices, patients, seed=0):
    draw = np.random.default_rng(seed)
    truth = draw.random((slices, 6)) < 0.4
    p = np.clip(0.3 * truth + 0.7 * draw.random(truth.shape), 0.01, 0.99)
    return Sample(truth, p, p >= 0.5, np.array([f"p{number % patients}" for number in range(slices)]))


def drawn_by_hand(patients, losses, found, whose):
    """95 % intervals of a mean over slices and of one over positives, patient by patient."""
    everyone, means = np.unique(patients), ([], [])
    for who in rng().integers(len(everyone), size=(100, len(everyone))):
        names = everyone[who]
        means[0].append(np.concatenate([losses[patients == name] for name in names]).mean())
        means[1].append(np.concatenate([found[whose == name] for name in names]).mean())
    return [tuple(np.quantile(each, [0.025, 0.975])) for each in means]


def test_figures_against_scikit_learn():
    scans = sample(400, 40)
    table = headers(bits_stored=[12 if number % 4 else 16 for number in range(400)], signed=[False] * 400)
    found = summarise(scans, table, 100, rng)
    json.dumps(found, allow_nan=False)
    assert [(group["name"], group["slices"]) for group in found["groups"]] == [
        ("12 bits, unsigned", 300), ("16 bits, unsigned", 100),
    ]  # fmt: skip
    for group in found["groups"]:
        rows = np.array([number % 4 == 0 for number in range(400)]) == group["name"].startswith("16")
        truth, p, called = (each[rows, 0] for each in (scans.truth, scans.probabilities, scans.decisions))
        assert group["auroc"]["value"] == pytest.approx(roc_auc_score(truth, p))
        assert group["auroc"]["low"] < group["auroc"]["value"] < group["auroc"]["high"]
        assert group["log_loss"]["value"] == pytest.approx(log_loss(truth, p))
        assert group["sensitivity"]["value"] == pytest.approx(recall_score(truth, called))
        assert group["specificity"]["value"] == pytest.approx(recall_score(~truth, ~called))
        patients = scans.patients[rows]
        losses = -np.log(np.where(truth, p, 1 - p))
        by_hand = drawn_by_hand(patients, losses, called[truth], patients[truth])
        for name, interval in zip(("log_loss", "sensitivity"), by_hand, strict=True):
            assert (group[name]["low"], group[name]["high"]) == pytest.approx(interval)
        assert group["specificity"]["low"] < group["specificity"]["value"] < group["specificity"]["high"]
        assert group["tp"] + group["fn"] == group["positives"] == truth.sum()
        assert group["positive_patients"] == len(set(scans.patients[rows][truth]))
        assert group["few"] is (group["positive_patients"] < 10)


def test_ten_slices_of_one_class():
    scans = sample(10, 10)
    healthy = Sample(np.zeros((10, 6), bool), scans.probabilities, scans.decisions, scans.patients)
    (group,) = summarise(healthy, headers(repairs=[[]] * 10), 100, rng)["groups"]
    assert group["auroc"] == {"value": None, "low": None, "high": None, "reason": "no positive slice"}
    assert group["sensitivity"]["reason"] == "no positive slice"
    assert group["few"]


def test_headers_are_read_in_the_order_of_the_slices_with_places_of_the_whole_series(tmp_path):
    config = Experiment(workspace=tmp_path, data={"labels": "labels.csv", "dicom": "scans"})
    workspace = Workspace(config)
    ids = ["ID_a", "ID_b", "ID_c"]
    series = headers(series=["s", "s", "s", "other"], slice_index=[2, 0, None, 8]).with_columns(
        pl.Series("ImageID", [*ids, "ID_d"])
    )
    prepared = headers(
        series=["s"] * 3, slice_index=[1, 0, None], bits_stored=[12, 16, 12], manufacturer=["A", "B", None]
    ).with_columns(pl.Series("ImageID", ids), signed=pl.lit("damaged"))
    prepared.write_parquet(workspace.slices)
    wanted = ["ID_b", "ID_c", "ID_unknown", "ID_a"]
    found = slice_headers.read(workspace, wanted)
    assert found["slice_index"].to_list() == [0, None, None, 1]
    assert found["slices_in_series"].to_list() == [2, None, None, 2]
    series.write_parquet(workspace.index)
    found = slice_headers.read(workspace, wanted)
    assert found["ImageID"].to_list() == wanted
    assert found["bits_stored"].to_list() == [16, 12, None, 12]
    assert found["slice_index"].to_list() == [0, None, None, 2]
    assert found["slices_in_series"].to_list() == [3, None, None, 3]
    assert "signed" not in found.columns  # of another type: as good as not there
    assert "slice_spacing_mm" not in found.columns
