import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_labels
from ich.errors import DataError
from ich.labels import LABELS, checked_table, is_augmented, original_id, read_long_labels, read_table


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
        lambda text: text.replace("ID,Label", "id,LABEL"),
        lambda text: text.replace("ID,Label", " ID , Label ").replace("ID_a", " ID_a").replace(",", "\t,  "),
        lambda text: "\ufeff" + text,
        lambda text: text.replace(",0", ",0.0").replace(",1", ",1.0"),
    ],
    ids=["empty lines at the end", "CRLF", "capitals", "blanks", "byte order mark", "floats"],
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
        ("ID,Label,id\nID_a_any,0,1\n", "has the column ID twice"),
        ("ID;Label\nID_a_any;0\n", "its columns are parted by ;: save it with commas"),
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


def read_plainly(rows):
    """The rules for well-formed rows in plain Python: table and number of repeated rows, or how the message goes on."""
    first = {}  # (image, label) -> value -> its first row
    for number, (image, label, text) in enumerate(rows, 1):
        first.setdefault((image, label), {}).setdefault(int(float(text)), number)
    contradictions = [(max(found.values()), *key) for key, found in first.items() if len(found) == 2]
    if contradictions:
        return "row {}: {}_{} is 0 in one row and 1 in another".format(*max(contradictions))
    names = [image for image, _, _ in rows]
    for image in sorted(set(names)):
        lacking = [label for label in LABELS if (image, label) not in first]
        if lacking:
            return f"row {names.index(image) + 1}: {image} has no row for {', '.join(lacking)} ("
    table = [(image, *(min(first[image, label]) for label in LABELS)) for image in sorted(set(names))]
    for image, any_label, *subtypes in table:
        if any_label != max(subtypes):
            return f"row {first[image, 'any'][any_label]}: any of {image} must be 1 if a subtype is"
    return table, len(rows) - len(first)


IMAGES = ["ID_0fe", "ID_0FE", "ID_a.b-c", "ID_any", "ID_any_any", "ID_subdural_any", "ID__", "ID_0_aug_1x", "ID_aug_"]
right = [set(), set(), {"any", "subdural"}, {"any", "epidural"}, {"any", "intraventricular", "subarachnoid"}]
positives = st.dictionaries(
    st.sampled_from(IMAGES), st.sampled_from([*right, *right, {"any"}, {"subdural"}]), min_size=1
)
none_or_some = st.sampled_from([0, 0, 0, 0, 1, 3])


@settings(deadline=None)
@given(positives, none_or_some, none_or_some, none_or_some, st.randoms(use_true_random=False))
def test_rows_in_any_order_are_read_by_the_rules(tmp_path_factory, found, repeated, flipped, dropped, chance):
    rows = [(image, label, str(int(label in found[image]))) for image in found for label in LABELS]
    rows += chance.choices(rows, k=repeated)
    rows += [(image, label, str(1 - int(text))) for image, label, text in chance.choices(rows, k=flipped)]
    chance.shuffle(rows)
    rows = [(image, label, text + chance.choice(["", ".0"])) for image, label, text in rows[dropped:]]
    path = tmp_path_factory.getbasetemp() / "rows.csv"
    path.write_text("ID,Label\n" + "".join(f"{image}_{label},{text}\n" for image, label, text in rows))
    expected = read_plainly(rows)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=re.escape(f"label file {path}, {expected}")):
            read_long_labels(path)
    else:
        table, duplicates = read_long_labels(path)
        assert (table.rows(), duplicates) == expected
        assert table.schema == {"ImageID": pl.String} | dict.fromkeys(LABELS, pl.UInt8)


@pytest.mark.parametrize(
    ("image_id", "taken"),
    [
        ("ID_any", True),
        ("ID_any_any", True),
        ("ID_a.b-c_D", True),
        ("ID_", False),
        ("ID", False),
        ("any", False),
        ("id_a", False),
        ("ID_é", False),
        ("ID_a_aug_12", False),
        ("ID_aug_12_", True),
    ],
)
def test_what_an_image_may_be_called(tmp_path, image_id, taken):
    path = make_labels(tmp_path / "labels.csv", {image_id: {"subdural": 1}})
    if taken:
        assert read_long_labels(path)[0].rows() == [(image_id, 1, 0, 0, 0, 0, 1)]
    else:
        with pytest.raises(DataError, match="row 1: ID must"):
            read_long_labels(path)


@pytest.mark.parametrize("text", ["", " ", "2", "-0", "01", "1.00", "1e0", "true", "0 1"])
def test_no_other_way_to_write_0_or_1(tmp_path, text):
    path = make_labels(tmp_path / "labels.csv", {"ID_a": {}, "ID_b": {}})
    path.write_text(path.read_text().replace("ID_b_epidural,0", f"ID_b_epidural,{text}"))
    with pytest.raises(DataError, match="row 7: Label must be 0 or 1"):
        read_long_labels(path)


def test_errors_among_many_rows_name_the_first_row(tmp_path):
    """More rows than are grouped at once."""
    ids = [f"ID_{number * 7919 % 30_011:05x}" for number in range(30_000)]
    path = make_labels(tmp_path / "labels.csv", {image_id: {} for image_id in ids})
    whole = path.read_text()
    table, _ = read_long_labels(path)
    assert table["ImageID"].to_list() == sorted(ids)
    path.write_text(whole + f"{ids[123]}_any,1\n{ids[99]}_subdural,1\n{ids[99]}_subdural,1\n")
    with pytest.raises(DataError, match=f"row 180002: {ids[99]}_subdural is 0 in one row and 1 in another"):
        read_long_labels(path)
    path.write_text(whole.replace(f"{ids[0]}_any,0\n", "").replace(f"{ids[29_000]}_any,0\n", ""))
    with pytest.raises(DataError, match=rf"row 1: {ids[0]} has no row for any \(2 such images\)"):
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
        ("../x,0,0,0,0,0,0", "must look like ID_<name>"),
        (",0,0,0,0,0,0", "must look like ID_<name>"),
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
    with pytest.raises(DataError, match=rf"{rule}.*\); correct it$"):
        checked_table(pl.read_csv(table, infer_schema=False), table, "correct it")


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
