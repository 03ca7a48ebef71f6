"""The data card: known counts of a data set with planted faults, and a page that stands alone."""

import dataclasses
import json
import re

import cv2
import numpy as np
import polars as pl
import pytest

from conftest import PREPARATION, make_slice
from ich.cli import run_command
from ich.config.read import load
from ich.datacard.distributions import distribution, value_counts
from ich.datacard.page import bars, figure
from ich.page import percent
from ich.stages import STEPS, run_step, standing
from ich.workspace import Outcome

STEPS_WITH_CARD = PREPARATION[:-1] + ", datacard]"


@pytest.fixture
def card(config_file, tmp_path):
    """Run a config's steps; return data_card.json and data_card.html."""

    def make(code=3, **lines):
        workspace = tmp_path / "workspace"
        settings = {"steps": STEPS_WITH_CARD} | lines
        assert run_command(["run", "-c", str(config_file(**settings))]) == code
        return json.loads((workspace / "data_card.json").read_text()), (workspace / "data_card.html").read_text()

    return make


def test_known_counts(card, planted_dataset, tmp_path):
    make_slice(tmp_path / "dicom" / "ID_unlabelled.dcm", np.zeros((64, 64), np.int16), SeriesInstanceUID="ID_x")
    with (tmp_path / "labels.csv").open("a") as labels:
        labels.write(f"{planted_dataset[0]}_any,0\n")
    content, page = card(steps=PREPARATION[:-1] + ", augment, datacard]", augment="{target: 20}")
    index, slices = content["accounts"]["index"], content["accounts"]["preprocess"]
    assert (index["seen"], index["statuses"]["ok"], index["statuses"]["missing"], index["adds_up"]) == (49, 48, 1, True)
    assert (slices["seen"], slices["statuses"]["ok"], slices["statuses"]["quarantined"]) == (47, 45, 1)
    assert slices["repairs"] == {"twelve_bit_wrap": 1}
    labels = content["labels"]
    assert (labels["slices"], labels["duplicated_rows"]) == (48, 1)
    assert labels["labels_without_files"] == {"slices": 1, "examples": [planted_dataset[0]]}
    assert labels["files_without_labels"] == {"slices": 1, "examples": ["ID_unlabelled"]}

    # six patients with two subdural slices each, three with one epidural slice
    everything, *others = content["prevalence"]
    assert (everything["slices"], everything["patients"], everything["slices_of_known_patients"]) == (48, 12, 47)
    assert everything["labels"]["any"] == {"slices": 15, "prevalence": 15 / 48, "patients": 9}
    assert everything["labels"]["subdural"] == {"slices": 12, "prevalence": 0.25, "patients": 6}
    groups = {group["group"]: group for group in others}
    for kind, total in (("as split", 47), ("prepared", 46)):
        parts = [groups[f"{name}, {kind}"] for name in ("training", "validation", "test")]
        assert sum(part["slices"] for part in parts) == total
        assert sum(part["patients"] for part in parts) == 12
        assert sum(part["labels"]["epidural"]["slices"] for part in parts) == 3
    augmented, natural = groups["training, with augmented copies"], groups["training, prepared"]
    assert augmented["labels"]["subdural"]["slices"] == 20
    assert augmented["labels"]["subdural"]["patients"] == natural["labels"]["subdural"]["patients"]
    assert content["overlap"]["number"] == {"0": 33, "1": 15, "2": 0, "3": 0, "4": 0, "5": 0}
    assert content["overlap"]["together"]["subdural"] == {
        "epidural": 0, "intraparenchymal": 0, "intraventricular": 0, "subarachnoid": 0, "subdural": 12,
    }  # fmt: skip
    assert (content["split"]["units_in_two_splits"], content["split"]["patients_in_two_tables"]) == (0, 0)
    assert "adds up" in page
    assert "does not add up" not in page


def test_headers_series_and_pixels(card, planted_dataset, tmp_path):
    content, _ = card()
    headers = content["headers"]
    assert (headers["source"], headers["slices"], headers["of"]) == ("index.parquet", 47, 48)
    assert headers["counts"]["rows x columns"] == [{"value": "64 x 64", "n": 47}]
    assert headers["counts"]["bits stored"] == [{"value": "16 signed", "n": 46}, {"value": "12 unsigned", "n": 1}]
    assert headers["counts"]["rescale intercept"] == [{"value": "-1024", "n": 46}, {"value": "0", "n": 1}]
    assert headers["counts"]["manufacturer"] == [{"value": None, "n": 47}]
    series = headers["series"]
    spread = series["distributions"]["slices a series"]
    assert (series["series"], spread["n"], spread["min"], spread["median"], spread["max"]) == (12, 12, 3, 4, 4)
    assert series["distributions"]["slice spacing, mm"]["max"] == 5
    assert not any(series["oddities"].values())
    pixels = content["pixels"]["distributions"]
    assert pixels["lowest HU of a slice"]["n"] == 46
    assert pixels["highest HU of a slice"]["min"] == 40  # the wrapped slice: 40 HU and air
    training = pl.read_csv(tmp_path / "workspace" / "data_train.csv")["ImageID"]
    natural = [name for name in training if "_aug_" not in name]
    images = np.stack([cv2.imread(str(tmp_path / "workspace" / "raw_png" / f"{name}.png")) for name in natural])
    rgb = images[..., ::-1].reshape(-1, 3).astype(float)
    assert (content["colours"]["images"], content["colours"]["of"]) == (len(natural), len(natural))
    np.testing.assert_allclose(content["colours"]["mean"], rgb.mean(axis=0))
    np.testing.assert_allclose(content["colours"]["deviation"], rgb.std(axis=0))
    assert content["shown"]["repaired: twelve_bit_wrap"] == {"image_ids": [planted_dataset[2]], "of": 1}


def test_odd_series_are_counted(card, small_dataset, tmp_path):
    stored_values = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    for place, position in ((0, [0, 0, 0.0]), (1, [0, 0, 0.0]), (2, [0, 0, 5.0]), (3, [0, 0, 20.0])):
        path = tmp_path / "dicom" / f"{small_dataset[place]}.dcm"
        make_slice(
            path, stored_values, PatientID="ID_00000000", SeriesInstanceUID="ID_0", ImagePositionPatient=position
        )
    path = tmp_path / "dicom" / f"{small_dataset[4]}.dcm"
    make_slice(path, stored_values, SeriesInstanceUID="ID_1", ImagePositionPatient=None)
    content, _ = card(code=0)
    assert list(content["headers"]["series"]["oddities"].values()) == [1, 1, 1, 0]


def test_the_page_stands_alone_and_names_no_patient(card, planted_dataset):
    content, page = card()
    assert not re.search(r"""(src|href|srcset)=["'](?!data:)""", page)
    assert "@import" not in page
    assert "url(" not in page
    assert len(page) < 3e6
    assert "Research use only" in page
    for text in (page, json.dumps(content)):
        assert not re.search(r"\bID_[0-9a-f]{8}\b", text)  # PatientIDs; ImageIDs have nine digits
    assert page.count("<figure>") == sum(len(row["image_ids"]) for row in content["shown"].values())


def test_hostile_text_is_escaped(card, small_dataset, tmp_path):
    stored_values = np.arange(64 * 64, dtype=np.int16).reshape(64, 64)
    hostile = "<script>alert(1)</script>"
    make_slice(tmp_path / "dicom" / f"{small_dataset[0]}.dcm", stored_values, Manufacturer=hostile)
    make_slice(tmp_path / "dicom" / f"{small_dataset[1]}.dcm", stored_values, Modality=hostile)
    content, page = card()
    assert {"value": hostile, "n": 1} in content["headers"]["counts"]["manufacturer"]
    assert hostile in content["accounts"]["preprocess"]["reasons"][0]["reason"]
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3


def test_what_is_not_there_is_said(card, planted_dataset):
    content, page = card(steps="[sample, copy, preprocess, split, datacard]", sample="{scope: all}")
    assert content["accounts"]["index"] == {"absent": "index is not in steps"}
    assert content["labels"]["labels_without_files"] == {"absent": "index is not in steps"}
    assert (content["headers"]["source"], content["headers"]["slices"]) == ("slices.parquet", 46)
    assert "headers of slices that were not sampled are not known" in page
    assert content["identical"]["groups"] == 0  # preprocess, whose ledger tells the patients here, has hashes


def test_a_card_of_labels_alone(card, small_dataset):
    content, page = card(code=0, steps="[datacard]")
    assert content["prevalence"][0]["patients"] is None
    assert "Headers are not known: index is not in steps; preprocess is not in steps." in page
    assert "There is no split: split is not in steps." in page
    assert "undefined: there is no training image" in page
    assert content["colours"]["mean"] is None
    assert "identical_pixels.csv is not there: identical pixels were not looked for." in page


def test_identical_pixels_are_told(card, small_dataset, tmp_path, config_file):
    card(code=0)
    (tmp_path / "workspace" / "identical_pixels.csv").write_text(
        "group,ImageID,patient,labels_conflict\n0,ID_a,p,true\n0,ID_b,q,true\n1,ID_c,p,false\n1,ID_d,p,false\n1,ID_e,p,false\n"
    )
    assert run_command(["datacard", "-c", str(config_file(steps=STEPS_WITH_CARD))]) == 0
    content = json.loads((tmp_path / "workspace" / "data_card.json").read_text())
    assert content["identical"] == {
        "slices": 5, "groups": 2, "conflicting_groups": 1, "conflicting_slices": 2, "examples": ["ID_a", "ID_b"],
    }  # fmt: skip


def test_again_gives_the_same_and_no_later_step_is_stale(card, config_file, small_dataset, monkeypatch):
    steps = STEPS_WITH_CARD.replace("]", ", train]")
    train = dataclasses.replace(STEPS["train"], run=lambda config: Outcome({"epochs": 1}))
    monkeypatch.setitem(STEPS, "train", train)
    first, _ = card(code=0)
    without = load(config_file(steps=steps.replace(", datacard", "")))
    run_step("train", without)
    config = load(config_file(steps=steps))
    assert standing("train", config).stale is None  # a card that was not asked for then changes no training
    run_step("datacard", config)
    second = json.loads((config.workspace / "data_card.json").read_text())
    for content in (first, second):
        for key in ("provenance", "steps", "config"):
            del content[key]
    assert first == second
    assert standing("train", config).stale is None


def test_distributions_by_hand():
    found = distribution(pl.Series([4.0, None, 1.0, 2.0, float("nan"), 3.0]))
    assert [found[name] for name in ("n", "of", "min", "q1", "median", "q3", "max")] == [4, 6, 1, 1.75, 2.5, 3.25, 4]
    assert (sum(found["histogram"]), found["histogram"][0], found["histogram"][-1]) == (4, 1, 1)
    alike = distribution(pl.Series([2, 2]))
    assert (alike["histogram"], alike["q1"]) == ([2], 2)
    empty = distribution(pl.Series([None], dtype=pl.Float64))
    assert (empty["median"], empty["reason"]) == (None, "none of 1 has a value")
    assert value_counts(pl.Series(["b", None, "a", "b", None])) == [
        {"value": "b", "n": 2}, {"value": None, "n": 2}, {"value": "a", "n": 1},
    ]  # fmt: skip


def test_numbers_and_bars_of_the_page():
    assert [figure(value) for value in (None, -1024, 0.1235, 12345.5, 100, 0)] == [
        "–", "−1,024", "0.123", "12,345.5", "100", "0",
    ]  # fmt: skip
    assert [(bar["y"], bar["height"]) for bar in bars([0, 1000, 1], width=3, height=20)] == [(20, 0), (0, 20), (19, 1)]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0.0%"), (1, "100.0%"), (0.143, "14.3%"), (0.0042, "0.42%"), (0.00002, "0.0020%"),
        (0.9994, "99.9%"), (0.9996, "99.96%"), (0.99996, "99.9960%"),
    ],
)  # fmt: skip
def test_a_share_is_written_as_none_or_all_only_when_it_is(share, text):
    assert percent(share) == text
