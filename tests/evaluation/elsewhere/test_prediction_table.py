import os

import numpy as np
import polars as pl
import pytest

from ich.errors import DataError
from ich.evaluation.elsewhere.prediction_table import are_by_study, read_predictions
from ich.labels import LABELS
from ich.predict import COLUMNS

NAMES = ",".join(LABELS)
VALUES = [[0.9, 0.1, 0.2, 0.3, 0.4, 0.8], [0.2, 0.0, 1.0, 0.05, 0.1, 1e-9]]  # the second is incoherent: taken as it is
ROWS = [",".join(map(str, row)) for row in VALUES]
WIDE = f"ImageID,{NAMES}\nID_a,{ROWS[0]}\nID_b,{ROWS[1]}\n"
LONG = "ID,Label\n" + "".join(
    f"ID_{image}_{label},{value}\n" for image, row in zip("ab", VALUES, strict=True)
    for label, value in zip(LABELS, row, strict=True)
)  # fmt: skip


def read(tmp_path, content, name="p.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_predictions(path)


@pytest.mark.parametrize(
    "content",
    [
        WIDE, LONG, LONG.replace("ID_a", "a").replace("ID_b", "b.dcm"), "\ufeff" + WIDE, "\ufeff" + LONG,
        WIDE.replace(",", " , ").replace("ImageID", "image_id"), WIDE.replace("ID_a", "a.dcm").replace("ID_b", "b.PNG"),
        WIDE + "\n\n", LONG + ",\n", WIDE.replace("ImageID", "row,ImageID").replace("ID_", "7,ID_"),
        WIDE.replace("ImageID", "SOPInstanceUID"), WIDE.replace("ImageID", "id"),
        WIDE.replace(NAMES, ",".join(f"prob_{label}" for label in LABELS)),
        WIDE.replace(NAMES, ",".join(f"Pred_{label.title()}" for label in LABELS)),
        WIDE.replace("ImageID", "file").replace("ID_a", "/data/x/ID_a.dcm").replace("ID_b", "C:\\x\\ID_b.dcm"),
        "\n".join([LONG.splitlines()[0], *reversed(LONG.splitlines()[1:7]), *LONG.splitlines()[7:]]),
    ],
)  # fmt: skip
def test_every_form_gives_the_same_numbers(tmp_path, content):
    table = read(tmp_path, content)
    assert table["ImageID"].to_list() == ["ID_a", "ID_b"]
    np.testing.assert_array_equal(table.select(LABELS).to_numpy(), VALUES)
    assert not are_by_study(table)


def test_our_own_tables_are_taken(tmp_path):
    identity = {"split": ["val", "test"], "ImageID": ["ID_a", "ID_b"], "patient": ["p", "q"], "series": ["r", None]}
    numbers = {f"probability_{label}": np.array(VALUES, np.float32)[:, n] for n, label in enumerate(LABELS)}
    truth = {f"label_{label}": [0, 1] for label in LABELS}
    pl.DataFrame(identity | truth | numbers | {"gated_in": [True, False]}).write_parquet(tmp_path / "p")
    table = read_predictions(tmp_path / "p")  # told by its first bytes
    assert table.select(list(identity)).to_dict(as_series=False) == identity
    np.testing.assert_array_equal(table.select(LABELS).to_numpy(), np.array(VALUES, np.float32))
    row = (
        dict.fromkeys(COLUMNS, "")
        | {"file": "CQ500CT0 CQ500CT0/Plain/CT0.dcm", "series": "r"}
        | dict.fromkeys(LABELS, 0.5)
    )
    table = read(tmp_path, ",".join(COLUMNS) + "\n" + ",".join(map(str, row.values())) + "\n")
    assert table.row(0)[:6] == ("ID_CT0", None, None, "r", None, "CQ500CT0 CQ500CT0/Plain/CT0.dcm")


@pytest.mark.parametrize("column", ["study", "name", "patient"])
def test_a_row_a_study(tmp_path, column):
    table = read(tmp_path, WIDE.replace("ImageID", column))
    assert are_by_study(table)
    assert table["study"].to_list() == ["ID_a", "ID_b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        (f"ImageID,{NAMES}\n", "has a header but no rows"),
        (b"PAR1 and no more", "cannot be read as Parquet"),
        (WIDE.encode("utf-16"), "p.csv is UTF-16; save it as UTF-8"),
        (WIDE.replace(",", ";"), "its columns are parted by ;: save it with commas"),
        (WIDE.replace("ImageID", "who"), r"no column that names the image .*\(it has who, any"),
        (WIDE.replace("subdural", "sdh"), "lacks a column for subdural .*it has imageid, any"),
        (WIDE.replace(",any,", ",anything,"), "lacks a column for any: .* largest of the five"),
        (WIDE.replace("ImageID,any", "ImageID,prob_any,any").replace("_a,", "_a,1,").replace("_b,", "_b,1,"),
         "has any and prob_any for one label"),
        (WIDE.replace("ImageID,any", "any,any,ImageID").replace("ID", "0,0,ID"), "the column any twice"),
        (WIDE.replace("ID_b", "ID_a"), "row 2: ImageID ID_a stands in row 1 too, with other values \\(1 such rows\\)"),
        (f"ImageID,{NAMES}\nID_a,{ROWS[0]}\na.dcm,{ROWS[0]}\n", "ID_a stands in row 1 too, with the same values"),
        (WIDE.replace("ImageID", " Patient ").replace("ID_b", "ID_a"), "row 2: of a patient who stands in row 1 too"),
        (LONG + LONG.splitlines()[1], "row 13: ID ID_a_any stands in row 1 too, with the same values"),
        (WIDE.replace("0.4", ""), "row 1: subarachnoid must be a number .*, got (None|'') \\(1 such rows\\)"),
        (WIDE.replace("0.05", "NaN"), "row 2: intraventricular must be a number in .*, got 'NaN'"),
        (WIDE.replace("0.05", "much"), "row 2: intraventricular must be a number in .*, got 'much'"),
        (LONG.replace(",0.05", ",inf"), "row 10: Label must lie in .*between 0 and inf"),
        (WIDE.replace("0.9,", "-4.2,"), "any must lie in .*between -4.2 and 1\\), got '-4.2' .* if they are logits"),
        (WIDE.replace("0.9,", "97,"), "row 1: any must lie in .*between 0 and 97\\).* percent"),
        (WIDE.replace("0.9,", "1.0000001,"), "clip them"),
        (WIDE + f"ID_c,97{ROWS[0][3:]}\n", "row 3: any must lie in .*between 0 and 97\\), got '97' .*; correct it$"),
        (LONG.replace(",0.05", ",-7"), "row 10: .*; correct it$"),
        (WIDE.replace("ID_a", " "), "row 1: ImageID is empty"),
        ("\n".join(LONG.splitlines()[:-1]), "row 7: ID_b has no row for subdural \\(1 such images\\)"),
        (LONG.replace("ID_b_any", "ID_b_all"), "row 7: ID must look like <image>_<label>, got 'ID_b_all'"),
        (WIDE + "ID_c,1\n", "row 3: epidural must be a number"),
        (WIDE + f"ID_c,{ROWS[0]},7\n", "cannot be read as CSV"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, content)
    assert str(caught.value).isprintable()
    assert "truncate_ragged_lines" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_predictions(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_predictions(tmp_path)


def test_a_name_that_is_not_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    for content in (WIDE, "PAR1"):
        path.write_text(content)
        with pytest.raises(DataError, match=r"caf\\xe9.csv: its name is not UTF-8; rename it"):
            read_predictions(path)


def test_of_our_own_table_the_reported_probabilities_are_taken(tmp_path):
    raw = pl.read_csv(WIDE.encode()).rename({label: f"probability_{label}" for label in LABELS})
    both = raw.with_columns(pl.lit(position / 10).alias(f"calibrated_{label}") for position, label in enumerate(LABELS))
    both.write_parquet(tmp_path / "p")
    np.testing.assert_array_equal(read_predictions(tmp_path / "p").select(LABELS).to_numpy(), [np.arange(6) / 10] * 2)
    both.drop("calibrated_subdural").write_parquet(tmp_path / "p")
    np.testing.assert_array_equal(read_predictions(tmp_path / "p").select(LABELS).to_numpy(), VALUES)


def test_a_blank_is_no_patient(tmp_path):
    table = pl.read_csv(WIDE.encode()).with_columns(patient=pl.Series(["", " "]), series=pl.lit(" s "))
    table.write_parquet(tmp_path / "p")
    table.write_csv(tmp_path / "p.csv")
    for name in ("p", "p.csv"):
        found = read_predictions(tmp_path / name)
        assert (found["patient"].null_count(), found["series"].to_list()) == (2, ["s", "s"])


def test_columns_of_a_parquet_file_that_are_neither_text_nor_numbers(tmp_path):
    """They are passed over; a probability that is one is lacking."""
    table = pl.read_csv(WIDE.encode()).with_columns(
        features=pl.lit([0.5]), ImageID=pl.col("ImageID").cast(pl.Categorical)
    )
    table.write_parquet(tmp_path / "p.parquet")
    assert read_predictions(tmp_path / "p.parquet")["ImageID"].to_list() == ["ID_a", "ID_b"]
    table.with_columns(any=pl.concat_list("any")).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(DataError, match="lacks a column for any"):
        read_predictions(tmp_path / "p.parquet")
