import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from ich.cli import run_command
from ich.config import Copy
from ich.errors import DataError
from ich.prepare.copy import bring, copy
from ich.prepare.sample import sample
from ich.sources.file import SourceFile
from ich.workspace import Workspace


@pytest.fixture
def config(experiment, small_dataset):
    """Builds the experiment with everything sampled, in a given copy mode."""

    def build(mode):
        config = experiment(sample={"scope": "all"}, copy={"mode": mode}, steps=["sample", "copy"])
        sample(config)
        return config

    return build


@pytest.mark.parametrize("mode", ["copy", "link"])
def test_every_file_arrives(config, small_dataset, mode):
    experiment = config(mode)
    outcome = copy(experiment)
    folder = Workspace(experiment).copies
    assert sorted(path.stem for path in folder.iterdir()) == small_dataset
    assert all(path.is_symlink() == (mode == "link") for path in folder.iterdir())
    source = Path(Workspace(experiment).originals[0])
    assert all((folder / f"{name}.dcm").read_bytes() == (source / f"{name}.dcm").read_bytes() for name in small_dataset)
    assert (outcome.counts["linked" if mode == "link" else "copied"], outcome.incomplete) == (48, False)
    assert folder in outcome.outputs
    assert copy(experiment).counts["there already"] == 48


def test_none_reads_in_place(config):
    experiment = config("none")
    assert copy(experiment).counts == {"sampled": 48, "mode": "none", "read in place": 48, "missing": 0}
    assert Workspace(experiment).dicom == Workspace(experiment).originals
    assert not (experiment.workspace / "raw_dicom").exists()


@pytest.mark.parametrize("mode", ["copy", "link", "none"])
def test_missing_files_are_listed(config, small_dataset, mode):
    experiment = config(mode)
    if mode == "none":  # a copy of an earlier run is not what would be read
        Workspace(experiment).copies.mkdir()
        (Workspace(experiment).copies / f"{small_dataset[5]}.dcm").touch()
    (Path(Workspace(experiment).originals[0]) / f"{small_dataset[5]}.dcm").unlink()
    outcome = copy(experiment)
    assert outcome.incomplete
    assert pl.read_csv(experiment.workspace / "missing_files.csv")["ImageID"].to_list() == [small_dataset[5]]


@pytest.fixture
def folder(tmp_path):
    """Where copies are made."""
    made = tmp_path / "made"
    made.mkdir()
    return made


def located(path):
    """As a listing has the file."""
    if not path.exists():
        return SourceFile(path.stem, str(path), -1, 0)
    return SourceFile(path.stem, str(path), path.stat().st_size, path.stat().st_mtime_ns)


def test_a_damaged_copy_is_made_again(tmp_path, folder):
    source, target = tmp_path / "a.dcm", tmp_path / "b.dcm"
    source.write_bytes(b"1234")
    target.write_bytes(b"12")
    assert bring(located(source), target, Copy(mode="copy"), folder) == "copied"
    assert bring(located(source), target, Copy(mode="copy"), folder) == "there already"
    source.write_bytes(b"4321")  # another slice of the same size
    os.utime(source, (1, 1))
    assert bring(located(source), target, Copy(mode="copy"), folder) == "copied"
    source.write_bytes(b"1234")
    os.utime(source, (1, 1))  # same size, same time: only the hash tells
    assert bring(located(source), target, Copy(mode="copy", verify="sha256"), folder) == "copied"
    assert target.read_bytes() == b"1234"
    assert os.listdir(folder) == []  # noqa: PTH208


def test_a_store_that_tells_no_time_is_asked_again(tmp_path, folder):
    source, target = tmp_path / "a.dcm", tmp_path / "b.dcm"
    for content in (b"1234", b"4321"):
        source.write_bytes(content)
        assert bring(located(source)._replace(modified_ns=0), target, Copy(mode="copy"), folder) == "copied"
        assert target.read_bytes() == content


def test_a_folder_of_copies_that_is_gone_is_no_missing_file(tmp_path, folder):
    source = tmp_path / "a.dcm"
    source.write_bytes(b"1234")
    for made, target in ((folder / "gone", tmp_path / "b.dcm"), (folder, tmp_path / "gone" / "b.dcm")):
        with pytest.raises(FileNotFoundError, match="gone/"):
            bring(located(source), target, Copy(mode="copy"), made)


def test_a_copy_whose_original_is_gone_is_kept(tmp_path, folder):
    source, target = tmp_path / "a.dcm", tmp_path / "b.dcm"
    target.write_bytes(b"1234")
    assert bring(located(source), target, Copy(mode="copy"), folder) == "kept without original"
    target.unlink()
    target.symlink_to(source)
    assert bring(located(source), target, Copy(mode="copy"), folder) == "missing"


def test_a_link_is_replaced_by_a_copy_not_written_through(tmp_path, folder):
    source, other, target = tmp_path / "a.dcm", tmp_path / "other.dcm", tmp_path / "b.dcm"
    source.write_bytes(b"1234")
    other.write_bytes(b"99")
    target.symlink_to(other)
    bring(located(source), target, Copy(mode="copy"), folder)
    assert other.read_bytes() == b"99"
    assert not target.is_symlink()


@pytest.mark.parametrize("mode", ["copy", "link"])
@pytest.mark.parametrize(("workspace", "name"), [(".", "dicom"), ("dicom/workspace", "raw_dicom")])
def test_originals_are_never_the_target_nor_around_it(experiment, small_dataset, tmp_path, mode, workspace, name):
    config = experiment(
        sample={"scope": "all"}, copy={"mode": mode}, steps=["sample", "copy"], workspace=str(tmp_path / workspace),
        names={"dicom": name},
    )  # fmt: skip
    sample(config)
    with pytest.raises(DataError, match=f"{name} is, or is in, .*dicom, the folder of the originals"):
        copy(config)
    assert all((tmp_path / "dicom" / f"{name}.dcm").stat().st_size > 8000 for name in small_dataset)


@pytest.mark.parametrize("dicom", ["dicom.zip", "s3://bucket/dicom"])
def test_links_into_what_has_no_paths_are_refused_before_anything_is_done(
    config_file, small_dataset, tmp_path, capfd, dicom
):
    shutil.make_archive(str(tmp_path / "dicom"), "zip", tmp_path / "dicom")
    place = dicom if "://" in dicom else str(tmp_path / dicom)
    assert run_command(["run", "-c", str(config_file(copy="{mode: link}")), "--data.dicom", place]) == 1
    said = capfd.readouterr().err
    assert said == f"ich: copy.mode is link, but {place} is no folder; set copy.mode to copy or none\n"


def test_missing_folder(experiment, small_dataset, tmp_path):
    config = experiment(
        sample={"scope": "all"},
        steps=["sample", "copy"],
        data={"labels": str(tmp_path / "labels.csv"), "dicom": "nowhere"},
    )
    sample(config)
    with pytest.raises(DataError, match="nowhere does not exist; set data.dicom"):
        copy(config)
