import json
import os

import numpy as np
import polars as pl
import pytest

from ich.cli import run_command
from ich.errors import ConfigError, DataError
from ich.evaluation.elsewhere.prediction_table import read_predictions
from ich.labels import LABELS
from ich.submit import submit

IMAGES = [f"ID_{number:x}" for number in range(40)]


@pytest.fixture
def files(tmp_path):
    """Predictions in one order, with two images too many; the sample in another, labels in a third."""
    draw = np.random.default_rng(3)
    ids = [*IMAGES, "ID_more", "ID_most"]
    values = draw.random((len(ids), 6))
    values[:2, 1] = 0, 1
    table = pl.DataFrame({"ImageID": ids} | {label: values[:, n] for n, label in enumerate(LABELS)})
    table.sample(fraction=1, shuffle=True, seed=1).write_csv(tmp_path / "p.csv")
    rows = [f"{IMAGES[n]}_{label}" for n in draw.permutation(len(IMAGES)) for label in reversed(LABELS)]
    pl.DataFrame({"ID": rows, "Label": [0.5] * len(rows)}).write_csv(tmp_path / "sample.csv")
    return tmp_path, table


def test_the_sample_s_rows_in_its_order_and_back(files):
    folder, table = files
    done = submit(folder / "p.csv", folder / "sample.csv", folder / "s.csv")
    assert (done.images, done.rows, done.extra, done.clipped) == (40, 240, 2, 2)
    written = pl.read_csv(folder / "s.csv")
    assert written.columns == ["ID", "Label"]
    assert written["ID"].to_list() == pl.read_csv(folder / "sample.csv")["ID"].to_list()
    assert (written["Label"].min(), written["Label"].max()) == (1e-15, 1 - 1e-15)
    back = read_predictions(folder / "s.csv").sort("ImageID")
    given = table.filter(pl.col("ImageID").is_in(IMAGES)).sort("ImageID")
    np.testing.assert_allclose(back.select(LABELS).to_numpy(), given.select(LABELS).to_numpy(), rtol=0, atol=1e-15)


def test_ids_are_joined_without_prefix_and_suffix(files):
    folder, table = files
    first = submit(folder / "p.csv", folder / "sample.csv", folder / "s.csv")
    renamed = table.with_columns(pl.col("ImageID").str.strip_prefix("ID_") + ".dcm").rename({"ImageID": "file"})
    renamed.write_parquet(folder / "p.parquet")
    again = submit(folder / "p.parquet", folder / "sample.csv", folder / "t.csv")
    assert (folder / "s.csv").read_bytes() == (folder / "t.csv").read_bytes()
    assert again.bytes == first.bytes


def test_of_our_own_table_the_calibrated_probabilities_are_submitted(files):
    folder, table = files
    raw = table.rename({label: f"probability_{label}" for label in LABELS})
    raw.with_columns(pl.lit(0.25).alias(f"calibrated_{label}") for label in LABELS).write_parquet(folder / "p.parquet")
    submit(folder / "p.parquet", folder / "sample.csv", folder / "s.csv")
    assert pl.read_csv(folder / "s.csv")["Label"].unique().to_list() == [0.25]


def test_the_command(files, capfd):
    folder, _ = files
    command = ["submit", *map(str, (folder / "p.csv", "--sample", folder / "sample.csv", "--output", folder / "s.csv"))]
    assert run_command(command) == 0
    assert "240 rows of 40 images" in capfd.readouterr().out
    assert run_command([*command, "--clip", "0.01", "--json"]) == 0  # over its own file
    assert json.loads(capfd.readouterr().out)["rows"] == 240
    assert pl.read_csv(folder / "s.csv")["Label"].min() == 0.01
    assert run_command([*command[:2], "--sample", "nowhere.csv", *command[4:]]) == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_what_is_incomplete_or_no_sample_is_refused(files):
    folder, table = files

    def refused(message, predictions="p.csv", sample="sample.csv", error=DataError, **more):
        with pytest.raises(error, match=message):
            submit(folder / predictions, folder / sample, folder / "s.csv", **more)
        assert not (folder / "s.csv").exists()

    table.head(37).write_csv(folder / "few.csv")
    refused("3 of 40 images of the sample submission have no prediction .* e.g. ID_2", "few.csv")
    table.rename({"ImageID": "study"}).write_csv(folder / "studies.csv")
    refused("are by study", "studies.csv")
    sample = (folder / "sample.csv").read_text()
    for text, message in [
        (sample.replace("ID,Label", "ID,Lable"), "needs the columns ID,Label"),
        (sample.replace("_any", "_all", 1), "row 6 has the ID .*_all', not <image>_<label>"),
        ("".join(sample.splitlines(keepends=True)[:-1]), "has not each of the six labels once \\(1 such"),
        (sample + sample.splitlines()[1], "has not each of the six labels once"),
        ("", "sample submission .* is empty"),
        (sample.replace(",", ";"), "parted by ;"),
    ]:
        (folder / "odd.csv").write_text(text)
        refused(message, sample="odd.csv")
    for clip in (0.5, 0, 1e-16, float("nan")):
        refused("--clip must be at least 1e-15, .* and less than 0.5, got", error=ConfigError, clip=clip)
    assert 1 - 1e-15 < 1
    table.with_columns(split=pl.lit("Train")).write_csv(folder / "trained.csv")
    refused("40 of the predictions .* are of split train", "trained.csv")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("s.csv.GZ", ConfigError, "a plain CSV file is written, .*; leave .GZ out"),
        ("s.zip", ConfigError, "leave .zip out"),
        (os.fsdecode(b"\xe9.csv"), DataError, r"--output .*\\xe9\.csv: its name is not UTF-8; rename it"),
    ],
)
def test_an_output_that_cannot_be_is_refused(files, name, error, message):
    folder, _ = files
    with pytest.raises(error, match=message):
        submit(folder / "p.csv", folder / "sample.csv", folder / name)
    assert not (folder / name).exists()


def test_blank_lines_at_the_end_of_the_sample_are_passed_over(files):
    folder, _ = files
    first = submit(folder / "p.csv", folder / "sample.csv", folder / "s.csv")
    (folder / "long.csv").write_text((folder / "sample.csv").read_text() + "\n  \n,\n")
    assert submit(folder / "p.csv", folder / "long.csv", folder / "t.csv").rows == first.rows == 240
    assert (folder / "s.csv").read_bytes() == (folder / "t.csv").read_bytes()


def test_nothing_but_an_earlier_submission_is_written_over(files):
    folder, _ = files
    labels = (folder / "sample.csv").read_text().replace("0.5", "1")
    for name, text in {"sample.csv": None, "p.csv": None, "labels.csv": labels, "notes.csv": "mine"}.items():
        if text:
            (folder / name).write_text(text)
        before = (folder / name).read_bytes()
        with pytest.raises(DataError, match="exists, and is not a table of an earlier run"):
            submit(folder / "p.csv", folder / "sample.csv", folder / name)
        assert (folder / name).read_bytes() == before
    submit(folder / "p.csv", folder / "sample.csv", folder / "s.csv")
    with pytest.raises(DataError, match="exists"):  # what is read is not written over
        submit(folder / "s.csv", folder / "sample.csv", folder / "s.csv")
