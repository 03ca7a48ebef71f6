import polars as pl
import pytest

from ich.errors import DataError
from ich.evaluation.leakage import refuse_leaks, with_patients

LEDGER = pl.DataFrame(
    {
        "ImageID": [f"ID_{letter}" for letter in "abcdef"],
        "patient": ["p1", "p1", "p2", "p3", None, None],
        "study": ["s1", "s1", "s2", "s3", None, None],
        "series": ["r1", "r1", "r2", "r3", "r4", None],
    }
)


def tables(train: list[str], val: list[str], test: list[str]) -> dict[str, pl.DataFrame]:
    named = {"train": train, "val": val, "test": test}
    return {name: with_patients(pl.DataFrame({"ImageID": ids}), LEDGER, name) for name, ids in named.items()}


def test_clean_splits_pass_and_augmented_images_have_their_originals_patient():
    clean = tables(["ID_a", "ID_a_aug_3", "ID_b"], ["ID_c"], ["ID_d"])
    assert clean["train"]["patient"].to_list() == ["p1", "p1", "p1"]
    assert refuse_leaks(clean, "patient") == 0


def test_a_slice_without_patient_is_known_by_its_series_or_itself():
    assert tables(["ID_e"], ["ID_f"], [])["train"]["patient"].to_list() == ["r4"]
    assert tables(["ID_e"], ["ID_f"], [])["val"]["patient"].to_list() == ["ID_f"]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ((["ID_a"], ["ID_c_aug_0"], ["ID_d"]), "split val holds 1 augmented images"),
        ((["ID_a"], ["ID_c"], ["ID_c"]), "1 slices are in more than one split, e.g. ID_c"),
        ((["ID_a", "ID_d_aug_1"], ["ID_c"], ["ID_d"]), "1 slices are in more than one split, e.g. ID_d"),
        ((["ID_a"], ["ID_c"], ["ID_b"]), "1 patients are in more than one split"),
    ],
)
def test_each_leak_is_refused(splits: tuple[list[str], ...], message: str):
    with pytest.raises(DataError, match=message) as caught:
        refuse_leaks(tables(*splits), "patient")
    assert "p1" not in str(caught.value)


def test_slice_splits_share_patients_and_say_how_many():
    assert refuse_leaks(tables(["ID_a"], ["ID_c"], ["ID_b"]), "slice") == 1


def test_a_slice_that_the_ledger_does_not_know_is_refused():
    with pytest.raises(DataError, match="ID_z is not in slices.parquet"):
        tables(["ID_z"], [], [])
