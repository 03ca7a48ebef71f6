import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ich.labels import LABELS
from ich.prepare.identical import (
    LISTING,
    TISSUE_HU,
    count_identical,
    find_identical,
    identical_groups,
    linked_patients,
    list_identical,
)
from ich.prepare.index import index
from ich.prepare.split import split
from ich.workspace import Workspace

SCHEMA = {"ImageID": pl.String, "patient": pl.String, "hu_hash": pl.String, "hu_max": pl.Int32}
PIXELS = pl.DataFrame(
    [
        ("ID_1", "A", "bone", 900), ("ID_2", "B", "bone", 900), ("ID_9", "A", "bone", 900),  # A and B, A twice
        ("ID_3", "B", "brain", 60), ("ID_4", "C", "brain", 60),  # C through B
        ("ID_5", "D", "air", -501), ("ID_6", "E", "air", -501),  # no tissue
        ("ID_7", "F", "foam", TISSUE_HU), ("ID_8", "F", "foam", TISSUE_HU),  # one patient
        ("ID_a", "G", None, None), ("ID_b", "H", None, None), ("ID_c", "H", "odd", None), ("ID_d", "G", "odd", None),
    ],
    SCHEMA, orient="row",
)  # fmt: skip


def labelled(**positive):
    ids = PIXELS["ImageID"]
    return pl.DataFrame(
        {"ImageID": ids, **{label: [int(label in positive.get(each, ())) for each in ids] for label in LABELS}}
    )


def test_groups_links_and_conflicts_by_hand():
    groups = identical_groups(PIXELS.sample(fraction=1, shuffle=True, seed=0))
    assert groups.rows() == [
        (1, "ID_1", "A"), (1, "ID_2", "B"), (1, "ID_9", "A"), (2, "ID_3", "B"), (2, "ID_4", "C"),
        (3, "ID_7", "F"), (3, "ID_8", "F"),
    ]  # fmt: skip
    linked = linked_patients(groups)
    assert linked.rows() == [("A", "A"), ("B", "A"), ("C", "A")]
    labels = labelled(ID_1=["any", "subdural"], ID_2=["any", "subdural"], ID_9=["any"], ID_3=["any"], ID_7=["any"])
    listed = list_identical(groups, labels.filter(pl.col("ImageID") != "ID_4"))  # its labels are not known
    assert listed.columns == ["group", "ImageID", "patient", *LABELS, "labels_conflict"]
    assert dict(listed.select("ImageID", "labels_conflict").iter_rows()) == {
        "ID_1": True, "ID_2": True, "ID_9": True, "ID_3": False, "ID_4": False, "ID_7": True, "ID_8": True,
    }  # fmt: skip
    assert listed.filter(pl.col("ImageID") == "ID_4")["any"].to_list() == [None]
    assert list(count_identical(listed, linked).values()) == [3, 7, 3, 3, 2]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=40))
@settings(max_examples=50, deadline=None)
def test_links_are_what_spreading_names_gives(slices):
    """An independent way: everyone takes the smallest name among those who share a slice, until nothing changes."""
    rows = [(f"ID_{number:02d}", f"P{who:02d}", f"h{what}", 40) for number, (who, what) in enumerate(slices)]
    linked = linked_patients(identical_groups(pl.DataFrame(rows, SCHEMA, orient="row")))
    name = {patient: patient for _, patient, _, _ in rows}
    for _ in name:
        for _, patient, pixels, _ in rows:
            name[patient] = min(name[other] for _, other, same, _ in rows if same == pixels or other == patient)
    several = {patient: first for patient, first in name.items() if list(name.values()).count(first) > 1}
    assert dict(linked.iter_rows()) == several


def test_a_ledger_without_hashes_tells_nothing(tmp_path):
    identity = {"status": "ok", "study": None, "series": None}
    table = PIXELS.with_columns(**{name: pl.lit(value, pl.String) for name, value in identity.items()})
    ledger = tmp_path / "index.parquet"
    table.write_parquet(ledger)
    assert find_identical(ledger).linked.height == 3
    for without in (table.drop("hu_hash", "hu_max"), table.with_columns(hu_hash=pl.lit(None, pl.String))):
        without.write_parquet(ledger)
        assert find_identical(ledger) is None


def hash_index(config, same):
    """Give the index hashes, all different but for the slices in `same`."""
    path = Workspace(config).index
    table = pl.read_parquet(path).drop("hu_hash", "hu_max", strict=False)
    hashes = pl.when(pl.col("ImageID").is_in(same)).then(pl.lit("same")).otherwise("ImageID")
    table.with_columns(hu_hash=hashes, hu_max=pl.lit(60, pl.Int32)).write_parquet(path)


def a_slice_of(patient):
    """Of small_dataset."""
    return f"ID_{int(patient[3:], 16):04x}00003"


@pytest.mark.parametrize("how", [{"fractions": [0.5, 0.25, 0.25]}, {"folds": 3, "fold": 1}])
def test_patients_with_a_slice_in_common_stay_together(experiment, small_dataset, how):
    config = experiment(split=how)
    workspace = Workspace(config)
    index(config)
    split(config)
    before = json.loads(workspace.splits.read_text())
    by_split = {name: patient for patient, name in before["assignment"].items()}
    same = sorted(a_slice_of(by_split[name]) for name in ("train", "test"))
    hash_index(config, same)
    outcome = split(config)
    after = json.loads(workspace.splits.read_text())
    assert after["assignment"][by_split["train"]] == after["assignment"][by_split["test"]]
    assert after["identical_in_two_splits"] == 0
    assert outcome.counts["patients linked"] == 2
    assert "2 patients are linked by them and stay together" in outcome.notes[0]
    assert workspace.root / LISTING in outcome.outputs
    assert pl.read_csv(workspace.root / LISTING)["ImageID"].to_list() == same
    table = pl.read_parquet(workspace.index)
    table.drop("hu_hash", "hu_max", strict=False).write_parquet(workspace.index)
    assert split(config).counts["identical pixels"] == "not looked for"
    assert not (workspace.root / LISTING).exists()


def test_a_split_by_slice_lists_them_and_keeps_its_draw(experiment, small_dataset):
    config = experiment(split={"unit": "slice"})
    index(config)
    plain = split(config)
    drawn = Workspace(config).splits.read_text()
    assignment = json.loads(drawn)["assignment"]
    apart = [next(image for image, name in assignment.items() if name == wanted) for wanted in ("train", "test")]
    hash_index(config, apart)
    outcome = split(config)
    assert outcome.counts["assignment"] == plain.counts["assignment"]
    assert json.loads(Workspace(config).splits.read_text())["identical_in_two_splits"] == 1
    assert outcome.notes[-1].startswith("1 of these groups are in two splits")
    assert pl.read_csv(Workspace(config).root / LISTING)["ImageID"].to_list() == sorted(apart)


def test_a_published_split_that_parts_them_is_told(experiment, small_dataset, tmp_path):
    config = experiment()
    index(config)
    split(config)
    published = tmp_path / "published.json"
    published.write_bytes(Workspace(config).splits.read_bytes())
    by_split = {name: patient for patient, name in json.loads(published.read_text())["assignment"].items()}
    hash_index(config, [a_slice_of(by_split[name]) for name in ("train", "test")])
    notes = split(experiment(split={"published": str(published)})).notes
    assert "2 patients are linked by them; labels conflict in" in notes[0]
    assert notes[2].startswith("1 groups of patients linked by identical pixels are in two splits")
