"""Real CT slices through reading, ordering, windowing, the preparation steps and prediction."""

import json

import cv2
import numpy as np
import polars as pl
import pytest

from ich.dicom.read import read_header, read_slice
from ich.dicom.series import order_series
from ich.errors import UnreadableSlice
from ich.labels import LABELS
from ich.predict import predict
from ich.prepare.copy import copy
from ich.prepare.index import index
from ich.prepare.preprocess import preprocess
from ich.prepare.sample import sample
from ich.prepare.split import split
from ich.windows import rgb_from_hu
from ich.workspace import Workspace

RSNA = ((75, 215), (40, 80), (600, 2800))


def headers(folder):
    return [read_header(path) for path in sorted(folder.glob("*.dcm"))]


def test_all_rsna_slices_go_through_steps_1_to_4(realdata, experiment):
    source = realdata / "rsna"
    config = experiment(
        data={"labels": str(source / "stage_2_train.csv"), "dicom": str(source / "stage_2_train")},
        split={"fractions": [0.6, 0.2, 0.2]}, copy={"mode": "copy", "verify": "sha256"},
        preprocess={"size": 256, "workers": 1},
    )  # fmt: skip
    for step in (index, split, sample):
        step(config)
    assert copy(config).counts == {
        "sampled": 55, "mode": "copy", "copied": 55, "there already": 0, "kept without original": 0, "missing": 0,
    }  # fmt: skip
    preprocess(config)
    workspace = Workspace(config)
    assert workspace.dicom == (str(workspace.root / "raw_dicom"),)
    table = pl.read_parquet(workspace.slices)
    assert table["status"].to_list() == ["ok"] * 55
    assert table.group_by("bits_stored", "signed").len().sort("bits_stored").rows() == [(12, False, 21), (16, True, 34)]
    # 31 of these slices hold padding of -2048 or -3024 HU outside the reconstruction
    assert (table["padding"] > 0).sum() == 31
    record = json.loads(workspace.splits.read_text())
    assert sum(part["counts"]["any"] for part in record["splits"].values()) == 8
    assert record["units_in_two_splits"] == 0
    for image_id in table["ImageID"]:
        image = cv2.imread(str(workspace.png / f"{image_id}.png"))
        assert image.shape == (256, 256, 3)
        assert image.max() > 100  # no slice comes out black: each holds bone


def test_rsna_series_is_ordered(realdata):
    order = order_series(headers(realdata / "rsna_series"))
    assert len(order.order) == 32
    assert (order.ties, order.uneven_steps) == (0, 0)
    assert order.slice_spacing_mm == pytest.approx(5.0, abs=0.02)
    assert order.tilt_degrees == pytest.approx(11.0, abs=0.01)


def test_ge_series_is_ordered_with_its_tilt_and_uneven_steps(realdata):
    found = headers(realdata / "ge_head")
    order = order_series(found)
    steps = np.diff(order.positions_mm)
    # 4.22, 1.14 and 7.38 mm along the table are 4.00, 1.08 and 7.00 mm along the normal: the gantry is tilted
    np.testing.assert_allclose(np.sort(np.unique(steps.round(1))), [1.1, 4.0, 7.0])
    assert order.tilt_degrees == pytest.approx(18.5, abs=0.01)
    assert order.uneven_steps == 14


def test_ge_slice_with_intercept_0_is_right_as_it_is(realdata):
    for path in sorted((realdata / "ge_head").glob("*.dcm")):
        ct = read_slice(path)
        assert ct.hounsfield.repairs == ()
        assert ct.header.intercept == 0
        # a head holds air (sinuses, outside), soft tissue and bone
        assert ct.hu.min() == -1024
        assert np.mean((ct.hu > 0) & (ct.hu < 80)) > 0.01
        assert ct.hu.max() > 700
        assert rgb_from_hu(ct.hu, RSNA, 256)[128, 128].max() > 0


def test_malformed_files_are_refused_with_a_reason(realdata):
    files = sorted((realdata / "malformed").rglob("*.dcm"))
    assert len(files) == 58
    for path in files:
        with pytest.raises(UnreadableSlice, match=r"\w"):
            read_slice(path)


@pytest.fixture(scope="module")
def untrained_model(tmp_path_factory):
    """A demo-scale cascade with random weights, saved with its card: what it says is noise, how it runs is real."""
    from ich.card import Card, Gate, write_card
    from ich.config import Train
    from ich.files import fingerprint
    from ich.labels import SUBTYPES
    from ich.models.build import build

    names = {"efficientnet": "EfficientNetV2Demo", "convnext": "ConvNeXtDemo"}
    path = tmp_path_factory.mktemp("model") / "cascade_final.keras"
    build(Train.model_validate({"weights": "none", "backbones": names}), 64, seed=0).final.save(path)
    nothing = dict.fromkeys(LABELS, 0)
    write_card(path, Card(
        model="cascade", file_sha256=fingerprint(path), labels=LABELS, windows=RSNA, size=64, aspect="pad",
        gate=Gate(threshold=0.0, chosen="by hand", missed=nothing, positives=nothing),
        conditional_prevalence=dict.fromkeys(SUBTYPES, 0.2), training={}, config={}, provenance={},
    ))  # fmt: skip
    return path


def test_all_real_slices_are_predicted(realdata, untrained_model):
    result = predict([realdata / "rsna", realdata / "rsna_series", realdata / "ge_head"], [untrained_model])
    assert len(result.rows) == 55 + 32 + 28
    assert result.unreadable == []
    for row in result.rows:
        probabilities = [row[label] for label in LABELS]
        assert 0 <= max(probabilities) == probabilities[0] <= 1  # any is never less than a subtype
    sizes = sorted(len(rows) for _, rows in result.by_series())
    assert sizes[-2:] == [28, 32]
    for _, rows in result.by_series():
        assert [row["slice_index"] for row in rows] == list(range(len(rows)))
        assert np.all(np.diff([row["position_mm"] for row in rows]) > 0)
