from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from conftest import make_labels
from ich.config.read import load
from ich.files import write_json
from ich.labels import LABELS, SUBTYPES
from ich.prepare.sample import draw, sample
from ich.workspace import Workspace

REFERENCE = Path(__file__).parents[2] / "configs" / "reference.yaml"


@pytest.fixture(scope="module")
def labels():
    """50,000 made-up ids with the prevalences of the real data, sorted by ImageID."""
    rng = np.random.default_rng(7)
    rates = {
        "epidural": 0.0042,
        "intraparenchymal": 0.048,
        "intraventricular": 0.035,
        "subarachnoid": 0.047,
        "subdural": 0.063,
    }
    columns = {label: (rng.random(50_000) < rates[label]).astype(np.uint8) for label in SUBTYPES}
    any_label = np.max(np.stack(list(columns.values())), axis=0)
    ids = np.unique(rng.integers(0, 16**9, 60_000))[:50_000]
    return pl.DataFrame({"ImageID": [f"ID_{number:09x}" for number in ids], "any": any_label, **columns})


def notebook_draw(wide, per_label, seed):
    """The notebooks' sampling, in their own library."""
    chosen = set()
    for label in (*LABELS, *SUBTYPES):
        positives = wide[wide[label] == 1]
        chosen |= set(positives.sample(min(per_label, len(positives)), random_state=seed)["ImageID"])
    negatives = wide[wide["any"] == 0]
    chosen |= set(negatives.sample(min(per_label, len(negatives)), random_state=seed)["ImageID"])
    return sorted(chosen)


@pytest.mark.parametrize("per_label", [100, 1500, 10_000])
def test_draw_is_the_notebooks_draw(labels, per_label):
    wide = pd.DataFrame({column: labels[column].to_list() for column in labels.columns})
    expected = notebook_draw(wide, per_label, seed=42)
    drawn = draw(labels, per_label, per_label, seed=42)
    assert drawn["ImageID"].to_list() == expected
    assert 0 < len(expected) < len(labels)


def test_reference_yaml_draws_the_notebooks_ids_from_a_csv(labels, tmp_path):
    order = ["epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any"]
    long = labels.unpivot(order, index="ImageID", variable_name="label", value_name="Label")
    rows = long.select(pl.format("{}_{}", "ImageID", "label").alias("ID"), "Label")
    rows.sample(fraction=1, shuffle=True, seed=0).write_csv(tmp_path / "labels.csv")
    (tmp_path / "dicom").mkdir()
    given = {"data.labels": tmp_path / "labels.csv", "data.dicom": tmp_path / "dicom", "workspace": tmp_path / "w"}
    config = load(REFERENCE, {key: str(path) for key, path in given.items()})
    sample(config)
    wide = pd.DataFrame({column: labels[column].to_list() for column in labels.columns})
    table = pl.read_csv(tmp_path / "w" / "data_55k.csv")
    assert table["ImageID"].to_list() == notebook_draw(wide, 10_000, seed=42)
    assert table.equals(labels.filter(pl.col("ImageID").is_in(table["ImageID"].implode())).cast(table.schema))


def test_zero_takes_all(labels):
    assert len(draw(labels, 0, 0, seed=42)) == len(labels)
    assert draw(labels, 0, 10, seed=42)["any"].to_list().count(0) == 10


def test_only_training_slices_are_sampled(tmp_path, experiment):
    ids = [f"ID_{number:03x}" for number in range(60)]
    make_labels(tmp_path / "labels.csv", {image_id: {"subdural": number % 2} for number, image_id in enumerate(ids)})
    config = experiment(
        sample={"per_label": 5, "negatives": 3, "scope": "train"}, split={"unit": "slice"}, steps=["split", "sample"]
    )
    workspace = Workspace(config)
    held_out = {image_id: "val" if number < 10 else "test" for number, image_id in enumerate(ids[:20])}
    write_json(workspace.splits, {"unit": "slice", "assignment": dict.fromkeys(ids[20:], "train") | held_out})
    outcome = sample(config)
    table = pl.read_csv(workspace.sampled)
    assert set(ids[:20]) <= set(table["ImageID"])
    training = table.filter(~pl.col("ImageID").is_in(ids[:20]))
    assert training["any"].to_list().count(1) == 5
    assert training["any"].to_list().count(0) == 3
    assert table["ImageID"].is_sorted()
    assert outcome.counts["sampled"] == 28
