import resource
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from conftest import make_slice
from ich import chunks
from ich.dicom.read import read_slice
from ich.files import fingerprint
from ich.prepare.preprocess import preprocess, preprocess_chunk
from ich.prepare.sample import sample
from ich.sources import locate_files
from ich.windows import rgb_from_hu
from ich.workspace import Workspace


def prepared(experiment, **sections):
    config = experiment(sample={"scope": "all"}, steps=["sample", "copy", "preprocess"], **sections)
    sample(config)
    return config, preprocess(config)


def test_png_is_the_window_of_the_slice(experiment, small_dataset):
    config, outcome = prepared(experiment)
    workspace = Workspace(config)
    table = pl.read_parquet(workspace.slices)
    assert outcome.counts["ok"] == len(table) == 48
    for image_id in small_dataset[::12]:
        image = cv2.cvtColor(cv2.imread(str(workspace.png / f"{image_id}.png")), cv2.COLOR_BGR2RGB)
        hu = read_slice(Path(workspace.dicom[0]) / f"{image_id}.dcm").hu
        np.testing.assert_array_equal(image, rgb_from_hu(hu, config.preprocess.windows, 64))
    row = table.row(0, named=True)
    assert fingerprint(workspace.png / f"{row['ImageID']}.png") == row["png_sha256"]


def test_an_image_that_does_not_fit_on_the_disk_is_no_image(experiment, small_dataset, tmp_path):
    (file,) = locate_files(small_dataset[:1], [str(tmp_path / "dicom")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))  # the first write is short, as at the end of a disk
    try:
        with pytest.raises(OSError, match=f"File too large: .*{file.image_id}"):
            preprocess_chunk([file], tmp_path, experiment().preprocess)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.glob("*.png"))


def test_every_slice_keeps_a_row(experiment, small_dataset, tmp_path):
    source = tmp_path / "dicom"
    missing, truncated, wrapped, foreign = small_dataset[:4]
    (source / f"{missing}.dcm").unlink()
    content = (source / f"{truncated}.dcm").read_bytes()
    (source / f"{truncated}.dcm").write_bytes(content[:-1000])
    make_slice(source / f"{wrapped}.dcm", np.full((64, 64), 3096, np.uint16), RescaleIntercept=0)
    make_slice(source / f"{foreign}.dcm", np.zeros((64, 64), np.int16), Modality="MR")
    config, outcome = prepared(experiment)
    rows = {row["ImageID"]: row for row in pl.read_parquet(Workspace(config).slices).iter_rows(named=True)}
    assert (len(rows), outcome.incomplete) == (48, True)
    assert {outcome.counts[status] for status in ("repaired", "missing")} == {1}
    assert outcome.counts["quarantined"] == 2
    assert rows[missing]["status"] == "missing"
    assert "7,192 of 8,192 pixel bytes" in rows[truncated]["reason"]
    assert rows[wrapped]["repairs"] == ["twelve_bit_wrap"]
    assert rows[wrapped]["hu_max"] == -1000
    assert "modality is MR" in rows[foreign]["reason"]
    images = {path.stem for path in Workspace(config).png.iterdir()}
    assert images == set(small_dataset) - {missing, truncated, foreign}


def test_running_again_changes_nothing_and_repairs_what_was_lost(experiment, small_dataset):
    config, _ = prepared(experiment)
    workspace = Workspace(config)
    before = {path.name: fingerprint(path) for path in workspace.png.iterdir()}
    ledger = fingerprint(workspace.slices)
    (workspace.png / f"{small_dataset[9]}.png").unlink()
    cut_off = workspace.png / f"{small_dataset[20]}.png"
    cut_off.write_bytes(cut_off.read_bytes()[:-1])
    (workspace.png / "ID_stale.png").write_bytes(b"old")
    preprocess(config)
    assert {path.name: fingerprint(path) for path in workspace.png.iterdir()} == before
    assert fingerprint(workspace.slices) == ledger


def test_workers_change_no_byte(experiment, small_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 8)
    one, _ = prepared(experiment)
    two, _ = prepared(experiment, workspace=str(tmp_path / "two"), preprocess={"size": 64, "workers": 2})
    for name in small_dataset:
        assert fingerprint(Workspace(one).png / f"{name}.png") == fingerprint(Workspace(two).png / f"{name}.png")
