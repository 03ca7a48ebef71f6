import polars as pl
import pytest

from ich.errors import DataError
from ich.evaluation.leakage import ids_sha256, refuse_fitted_on_test, refuse_leaks, with_patients
from ich.prepare.identical import Identical, identical_groups, linked_patients

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
    assert refuse_leaks(clean, "patient") == (0, None)


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
    assert refuse_leaks(tables(["ID_a"], ["ID_c"], ["ID_b"]), "slice") == (1, None)


def test_a_slice_that_the_ledger_does_not_know_is_refused():
    with pytest.raises(DataError, match="ID_z is not in slices.parquet"):
        tables(["ID_z"], [], [])


def pixels(*hashes: tuple[str, str, str, int]) -> Identical:
    groups = identical_groups(pl.DataFrame(hashes, ["ImageID", "patient", "hu_hash", "hu_max"], orient="row"))
    return Identical(groups, linked_patients(groups))


def test_identical_pixels_across_splits_are_refused_but_not_those_of_air():
    splits = tables(["ID_a", "ID_a_aug_0", "ID_b"], ["ID_c"], ["ID_d"])
    within = pixels(("ID_a", "p1", "x", 60), ("ID_b", "p1", "x", 60), ("ID_z", "p9", "x", 60))  # z is in no split
    air = pixels(("ID_a", "p1", "x", -900), ("ID_c", "p2", "x", -900))
    across = pixels(("ID_a", "p1", "x", 60), ("ID_c", "p2", "x", 60), ("ID_d", "p3", "y", 60), ("ID_e", "p4", "y", 60))
    assert refuse_leaks(splits, "patient", within) == (0, 0)
    assert refuse_leaks(splits, "patient", air) == (0, 0)
    assert refuse_leaks(splits, "slice", across) == (0, 1)
    with pytest.raises(DataError, match=r"1 groups of .* identical pixels .*ID_a \(train\) and ID_c \(val\)"):
        refuse_leaks(splits, "patient", across)


def test_the_patient_rule_is_that_of_the_split():
    """A slice without PatientID is of the patient whom another slice of its study names."""
    ledger = LEDGER.with_columns(study=pl.Series(["s1", "s1", "s2", "s3", "s3", None]))
    assert with_patients(pl.DataFrame({"ImageID": ["ID_e"]}), ledger, "val")["patient"].to_list() == ["p3"]


def test_only_the_validation_slices_themselves_may_set_thresholds():
    val, test = ["ID_b", "ID_a"], ["ID_c"]
    fitted = {"split": "val", "image_ids_sha256": ids_sha256(["ID_a", "ID_b"])}
    refuse_fitted_on_test("the calibration", fitted, val, test)
    for change, message in [
        ({"split": "test"}, "on the test slices"),
        ({"image_ids_sha256": ids_sha256(test)}, "on the test slices"),
        ({"image_ids_sha256": ids_sha256(["ID_a", "ID_c"])}, "cannot be excluded"),
        ({"image_ids_sha256": None}, "cannot be excluded"),
        ({"split": "train"}, "on split train .* cannot be excluded"),
    ]:
        with pytest.raises(DataError, match=message):
            refuse_fitted_on_test("the calibration", fitted | change, val, test)
    with pytest.raises(DataError, match="1 slices are both in validation and in test, e.g. ID_b"):
        refuse_fitted_on_test("the calibration", fitted, val, ["ID_b"])
