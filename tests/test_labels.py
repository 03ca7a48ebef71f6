import polars as pl
import pytest

from conftest import make_labels
from ich.errors import DataError
from ich.labels import LABELS, is_augmented, original_id, read_long_labels, read_table


def test_pivot_is_sorted_and_in_label_order(tmp_path):
    path = make_labels(tmp_path / "labels.csv", {"ID_b": {"subdural": 1}, "ID_a": {"epidural": 1}})
    table, duplicates = read_long_labels(path)
    assert table.columns == ["ImageID", *LABELS]
    assert table.rows() == [("ID_a", 1, 1, 0, 0, 0, 0), ("ID_b", 1, 0, 0, 0, 0, 1)]
    assert duplicates == 0


def test_duplicated_rows_are_dropped_and_counted(tmp_path):
    path = make_labels(tmp_path / "labels.csv", {"ID_a": {}, "ID_b": {}})
    path.write_text(path.read_text() + "".join(f"ID_a_{label},0\n" for label in LABELS))
    table, duplicates = read_long_labels(path)
    assert (len(table), duplicates) == (2, 6)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "\n\n  \n,\n",
        lambda text: text.replace("\n", "\r\n") + "\r\n\r\n",
        lambda text: text.replace("ID,Label", " ID , Label ").replace("ID_a", " ID_a").replace(",", "\t,  "),
        lambda text: "\ufeff" + text,
        lambda text: text.replace(",0", ",0.0").replace(",1", ",1.0"),
    ],
    ids=["empty lines at the end", "CRLF", "blanks", "byte order mark", "floats"],
)
def test_harmless_variants_read_the_same(tmp_path, change):
    path = make_labels(tmp_path / "labels.csv", {"ID_b": {"subdural": 1}, "ID_a": {"epidural": 1}})
    plain, _ = read_long_labels(path)
    path.write_bytes(change(path.read_text()).encode())
    table, duplicates = read_long_labels(path)
    assert table.equals(plain)
    assert duplicates == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("ID,Label\n", "no rows"),
        ("ID,Label\n\n \n", "no rows"),
        ("ID,Label\nID_a_any,0\n\nID_a_epidural,0\n", "row 2: ID must look like .*, got None"),
        ("ID,Label\nID_a _any,0\n", "row 1: ID must look like"),
        ("ID,Label\nID_a_any,0.5\n", "row 1: Label must be 0 or 1, got '0.5'"),
        ("ID,Value\nID_a_any,0\n", "no column Label"),
        ("ID,Label\nID_a_any,0\nID_a_anny,0\n", "row 2: ID must look like"),
        ("ID,Label\n../../etc_any,0\n", "row 1: ID must look like"),
        ("ID,Label\nID_a_any,0,9\n", "not a CSV file with ID,Label in each row"),
        ("ID,Label,ID\nID_a_any,0,1\n", "has the column ID twice"),
        ("ID,Label\nID_a_any,2\n", "row 1: Label must be 0 or 1, got '2'"),
        ("ID,Label\nID_a_any,\n", "row 1: Label must be 0 or 1, got None"),
        ("ID,Label\nID_a_any,0\nID_a_any,1\n", "row 2: ID_a_any is 0 in one row and 1 in another"),
        ("ID,Label\nID_b_any,0\nID_a_any,0\n", "row 2: ID_a has no row for epidural"),
        (
            "ID,Label\n" + "".join(f"ID_a_{label},{int(label == 'subdural')}\n" for label in LABELS),
            "row 1: any of ID_a must be 1 if a subtype is",
        ),
        (
            "ID,Label\n" + "".join(f"ID_a_aug_1_{label},0\n" for label in LABELS),
            "row 1: ID must not end in _aug_<number>",
        ),
    ],
)
def test_bad_label_files_name_the_row(tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_long_labels(path)


def test_missing_label_file(tmp_path):
    with pytest.raises(DataError, match="does not exist; set data.labels"):
        read_long_labels(tmp_path / "no.csv")


def test_utf_16_and_a_folder_are_named(tmp_path):
    (tmp_path / "labels.csv").write_text("ID,Label\nID_a_any,0\n", encoding="utf-16")
    with pytest.raises(DataError, match="is UTF-16; save it as UTF-8"):
        read_long_labels(tmp_path / "labels.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_long_labels(tmp_path)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("ID_1,0,0,0,0,0,0", "must stand in one row only"),
        ("ID_1,1,1,0,0,0,0", "must stand in one row only"),
        ("../x,0,0,0,0,0,0", "must look like ID_<hex>"),
        (",0,0,0,0,0,0", "must look like ID_<hex>"),
        ("ID_2,7,7,0,0,0,0", "labels must be 0 or 1"),
        ("ID_2,0,,0,0,0,0", "labels must be 0 or 1"),
        ("ID_2,0,1,0,0,0,0", "any must be 1 if a subtype is"),
    ],
)
def test_a_damaged_table_names_the_row(tmp_path, row, rule):
    table = tmp_path / "data_val.csv"
    table.write_text(",".join(["ImageID", *LABELS]) + f"\nID_0,0,0,0,0,0,0\nID_1,0,0,0,0,0,0\n{row}\n")
    with pytest.raises(DataError, match=rf"data_val\.csv, row [23]: .*{rule}.* delete the file and run the step"):
        read_table(table)


def test_wide_table_round_trip(tmp_path):
    table, _ = read_long_labels(make_labels(tmp_path / "labels.csv", {"ID_1": {"subdural": 1}}))
    table.write_csv(tmp_path / "wide.csv")
    assert read_table(tmp_path / "wide.csv").equals(table)
    table.drop("any").write_csv(tmp_path / "wide.csv")
    with pytest.raises((DataError, pl.exceptions.PolarsError), match="any"):
        read_table(tmp_path / "wide.csv")


def test_augmented_ids():
    assert original_id("ID_0fe_aug_12") == original_id("ID_0fe") == "ID_0fe"
    assert is_augmented("ID_0fe_aug_12")
    assert not is_augmented("ID_0fe")
