import json

import numpy as np
import polars as pl
import pytest
from sklearn.model_selection import train_test_split

from conftest import make_slice
from ich.config import Split
from ich.errors import DataError
from ich.labels import LABELS, SUBTYPES, read_table
from ich.prepare.index import index
from ich.prepare.preprocess import preprocess
from ich.prepare.sample import sample
from ich.prepare.split import assign_patients, assign_slices, patients, read_assignment, split
from ich.workspace import SPLITS, Workspace


def made_up_patients(patients, seed=0):
    """Slices of patients with clustered labels: bleeds come in runs of slices, epidural is rare."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(20, 60, patients)
    unit = np.repeat(np.arange(patients), sizes)
    columns = {}
    for label, rate in zip(SUBTYPES, (0.02, 0.15, 0.1, 0.15, 0.2), strict=True):
        affected = rng.random(patients) < rate
        columns[label] = (affected[unit] & (rng.random(len(unit)) < 0.3)).astype(np.uint8)
    any_label = np.max(np.stack(list(columns.values())), axis=0)
    return pl.DataFrame({"unit": [f"P{number:05d}" for number in unit], "any": any_label, **columns})


def test_patients_stay_whole_and_prevalence_is_kept():
    table = made_up_patients(2000)
    assigned = table.with_columns(pl.Series("split", assign_patients(table, Split(), seed=1)))
    assert assigned.group_by("unit").agg(pl.col("split").n_unique())["split"].max() == 1
    for name, fraction in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        part = assigned.filter(pl.col("split") == name)
        assert len(part) == pytest.approx(fraction * len(table), rel=0.03)
        for label in LABELS:
            # 400 patients' worth of an affected label or more; epidural has about 40 patients, 4 a held-out split
            assert part[label].mean() == pytest.approx(table[label].mean(), rel=0.25 if label == "epidural" else 0.05)


def test_patient_split_depends_on_the_seed_alone():
    table = made_up_patients(100)
    first, again, other = (assign_patients(table, Split(), seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_slice_split_is_the_notebooks():
    any_label = np.random.default_rng(0).integers(0, 2, 1000)
    table = pl.DataFrame({"ImageID": [f"ID_{n:03x}" for n in range(1000)], "any": any_label})
    train, rest = train_test_split(np.arange(1000), test_size=0.2, stratify=any_label, random_state=42)
    test, val = train_test_split(rest, test_size=0.5, stratify=any_label[rest], random_state=42)
    names = np.array(assign_slices(table, Split(unit="slice"), seed=42))
    for name, rows in (("train", train), ("val", val), ("test", test)):
        assert set(np.flatnonzero(names == name)) == set(rows)


def test_published_sizes():
    """55,297 sampled slices, 45,297 of them positive, fall into 44,237 / 5,530 / 5,530."""
    table = pl.DataFrame({"any": np.r_[np.ones(45_297, int), np.zeros(10_000, int)]})
    names = assign_slices(table, Split(unit="slice"), seed=42)
    assert [names.count(name) for name in SPLITS] == [44_237, 5_530, 5_530]


@pytest.mark.parametrize("order", ["patients first", "notebooks"])
def test_both_orders_fill_the_folders(experiment, small_dataset, order):
    if order == "patients first":
        config = experiment(split={"fractions": [0.5, 0.25, 0.25]})
        steps = (index, split, sample, preprocess)
    else:
        config = experiment(
            split={"fractions": [0.5, 0.25, 0.25], "unit": "slice"}, sample={"scope": "all"},
            steps=["sample", "copy", "preprocess", "split"],
        )  # fmt: skip
        steps = (sample, preprocess, split)
    for step in steps:
        step(config)
    workspace = Workspace(config)
    found = []
    for name in SPLITS:
        ids = pl.read_csv(workspace.table(name))["ImageID"].to_list()
        images = sorted(path.stem for path in workspace.images(name).iterdir())
        assert ids == images
        assert all((workspace.images(name) / f"{image_id}.png").resolve().parent == workspace.png for image_id in ids)
        found += ids
    assert sorted(found) == small_dataset
    record = json.loads(workspace.splits.read_text())
    assert record["units_in_two_splits"] == 0
    assert sum(part["slices"] for part in record["splits"].values()) == 48


def test_too_few_patients(experiment, small_dataset):
    config = experiment()
    index(config)
    workspace = Workspace(config)
    pl.read_parquet(workspace.index).with_columns(patient=pl.lit("one")).write_parquet(workspace.index)
    with pytest.raises(DataError, match="1 patients cannot fill 3 splits"):
        split(config)


def test_an_index_of_an_earlier_config_is_not_used(experiment, small_dataset):
    index(experiment())
    workspace = Workspace(experiment(sample={"scope": "all"}, steps=["sample", "copy", "preprocess", "split"]))
    with pytest.raises(DataError, match="run `ich index` or `ich preprocess`"):
        patients(workspace)
    rows = {"ImageID": "ID_1", "status": "ok", "patient": "P", "study": "S", "series": "T"}
    pl.DataFrame(rows).write_parquet(workspace.slices)
    assert patients(workspace).rows() == [("ID_1", "P")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: pl.read_parquet(path).drop("patient").write_parquet(path),
        lambda path: pl.read_parquet(path).with_columns(patient=pl.lit(7)).write_parquet(path),
    ],
    ids=["truncated", "empty", "lacks a column", "another type"],
)
def test_a_damaged_index_is_named(experiment, small_dataset, damage):
    config = experiment()
    index(config)
    damage(Workspace(config).index)
    with pytest.raises(DataError, match=r"index\.parquet cannot be read \(.*\); delete it and run its step again"):
        split(config)


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "3", '{"unit": "patient"}', '{"unit": "slice", "assignment": {"ID_1": "tset"}}',
     '{"unit": "slice", "assignment": {"ID_1": ["test"]}}', '{"unit": ["slice"], "assignment": {}}'],
)  # fmt: skip
def test_splits_json_that_holds_no_split(experiment, text):
    workspace = Workspace(experiment())
    workspace.root.mkdir()
    workspace.splits.write_text(text)
    with pytest.raises(DataError, match=r"splits\.json does not hold a split; delete it and run split again"):
        read_assignment(workspace)


@pytest.mark.parametrize("unit", ["patient", "slice"])
def test_a_split_that_lacks_slices_is_refused(experiment, small_dataset, unit):
    config = experiment(split={"unit": unit})
    for step in (index, split, sample, preprocess):
        step(config)
    workspace = Workspace(config)
    content = json.loads(workspace.splits.read_text())
    del content["assignment"][next(iter(content["assignment"]))]
    workspace.splits.write_text(json.dumps(content))
    lost = 4 if unit == "patient" else 1
    with pytest.raises(DataError, match=rf"splits\.json lacks {lost} of the 48 labelled slices; run split again"):
        sample(config)
    with pytest.raises(DataError, match=rf"splits\.json lacks {lost} of the 48 sampled slices; run split again"):
        preprocess(config)


def test_patients_without_labels_are_in_no_split_and_in_nobodys_way(experiment, small_dataset, tmp_path):
    for place in range(2):
        path = tmp_path / "dicom" / f"ID_unlabelled{place}.dcm"
        make_slice(
            path, np.zeros((64, 64), np.int16), PatientID="ID_ffffffff", ImagePositionPatient=[0, 0, 5.0 * place]
        )
    config = experiment()
    for step in (index, split, sample, preprocess):
        step(config)
    assert sum(len(read_table(Workspace(config).table(name))) for name in SPLITS) == 48


def test_slices_whose_header_cannot_be_read_belong_to_no_patient(experiment, small_dataset, tmp_path):
    (tmp_path / "dicom" / f"{small_dataset[5]}.dcm").write_text("not dicom")
    config = experiment()
    index(config)
    assert small_dataset[5] not in patients(Workspace(config))["ImageID"].to_list()
