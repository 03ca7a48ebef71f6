import polars as pl
import pytest

from ich.dicom.header import SlicePlane
from ich.dicom.series import order_series
from ich.errors import DataError
from ich.prepare.ledger import account, left_out, refuse_lost, series_order

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
FACE_DOWN = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def ledger(rows):
    schema = {"series": pl.String, "position": pl.List(pl.Float64), "orientation": pl.List(pl.Float64)}
    return pl.DataFrame(rows, schema, orient="row")


def test_the_ledger_orders_a_series_as_order_series_does():
    planes = [
        (("A"), (0.0, 0.0, 10.0), AXIAL), ("A", (7.0, -100.0, 90.0), SAGITTAL), ("B", (0.0, 0.0, 3.0), AXIAL),
        ("A", (0.0, 0.0, 5.0), FACE_DOWN), ("A", (0.0, 0.0, 0.0), AXIAL), (None, (0.0, 0.0, 0.0), AXIAL),
        ("A", None, None),
    ]  # fmt: skip
    table = series_order(ledger(planes))
    assert table["slice_index"].to_list() == [2, None, 0, 1, 0, None, None]
    assert table["position_mm"].to_list() == [10, None, 3, 5, 0, None, None]
    assert table["slice_spacing_mm"].to_list() == [5, 5, None, 5, 5, None, 5]
    members = [number for number, row in enumerate(planes) if row[0] == "A"]
    order = order_series([SlicePlane(*planes[number][1:]) for number in members])
    assert [members[number] for number in order.order[:3]] == [4, 3, 0]


def test_what_was_left_out_is_named():
    rows = [("ID_1", "missing", "no such file"), ("ID_2", "ok", None)]
    rows += [(f"ID_b{number}", "quarantined", "no pixel data") for number in range(5)]
    rows += [(f"ID_c{number}", "quarantined", f"reason {number:02d}") for number in range(9)]
    lines = left_out(pl.DataFrame(rows, ["ImageID", "status", "reason"], orient="row"), "slices.parquet")
    assert lines[0] == "quarantined: no pixel data: ID_b0, ID_b1, ID_b2 and 2 more"
    assert lines[1] == "missing: no such file: ID_1"
    assert lines[-2:] == ["and 1 more reasons", "all of them: slices.parquet"]
    assert len(lines) == 12


def test_every_status_is_counted():
    table = pl.DataFrame({"ImageID": ["ID_1", "ID_2", "ID_3"], "status": ["ok", "missing", "ok"]})
    assert account(table, asked=3) == {"ok": 2, "repaired": 0, "quarantined": 0, "missing": 1}
    for lost in (table.head(2), table.with_columns(status=pl.lit("lost")), table.with_columns(ImageID=pl.lit("ID_1"))):
        with pytest.raises(DataError, match=r"does not add up: \{.*\} for 3 slices; this is a bug"):
            account(lost, asked=3)


def test_a_file_that_was_written_and_is_gone_is_told(tmp_path):
    (tmp_path / "a.png").touch()
    refuse_lost("augment", tmp_path, pl.Series(["a.png"]))
    with pytest.raises(DataError, match=r"augment does not add up: 1 of 2 files are not in .*, such as b.png"):
        refuse_lost("augment", tmp_path, pl.Series(["a.png", "b.png"]))
