"""Damaged files of every kind through the commands: each ends in the ledger with a reason, and ends nothing else."""

import hashlib
import random
import shutil
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from runs import Peaks, start

from conftest import make_labels
from ich.config import Experiment
from ich.phantom.dataset import phantom
from ich.png import read_png
from mutations import MUTATIONS, RARE, mutate
from transfer_syntaxes import LOSSLESS, encode

SECONDS = 10  # that a file may take
MB = 10**6
SIZE = 64


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> list[bytes]:
    """Slices of a phantom, and one of them in every transfer syntax."""
    folder = tmp_path_factory.mktemp("bases")
    phantom(Experiment(
        workspace=folder, steps=["phantom"], phantom={"patients": 1, "slices": [4, 4], "rows": 128, "quirks": False},
        preprocess={"workers": 1},
    ))  # fmt: skip
    slices = sorted((folder / "phantom" / "stage_2_train").iterdir())
    for syntax in LOSSLESS:
        path = Path(shutil.copy(slices[0], folder / f"{syntax}.dcm"))
        encode(path, syntax)
        slices.append(path)
    return [path.read_bytes() for path in slices]


@pytest.fixture(scope="module")
def malformed(request) -> list[bytes]:
    """Real CT files that others have damaged; none where there is no real data."""
    try:
        folder = request.getfixturevalue("realdata")
    except pytest.skip.Exception:
        return []
    files = [path.read_bytes() for path in sorted((folder / "malformed").rglob("*.dcm"))]
    assert len(files) == 58
    return files


def write_mutants(folder: Path, bases: list[bytes], malformed: list[bytes], count: int, bombs: int) -> None:
    """`count` files: every base as it is, the malformed ones, every mutation once, bombs, and what seeds draw."""
    folder.mkdir()
    kinds = (*MUTATIONS, *RARE)
    contents = [*bases, *malformed, *(kind(bases[0], random.Random(f"{kind.__name__}")) for kind in kinds)]
    contents += [RARE[0](bases[0], random.Random(seed)) for seed in range(bombs)]
    contents += [mutate(bases[seed % len(bases)], seed) for seed in range(count - len(contents))]
    for number, content in enumerate(contents):
        (folder / f"ID_{number:09x}.dcm").write_bytes(content)


def prepare(folder: Path, source: Path) -> Peaks:
    """Every command over the files of `source`, all of them labelled; the highest memory of each kind of process."""
    ids = [path.stem for path in source.iterdir()]
    make_labels(folder / "labels.csv", {image_id: {} for image_id in ids})
    config, peaks = folder / "config.yaml", []
    config.write_text(
        f"workspace: w\nsteps: [index, sample, copy, preprocess]\nsample: {{scope: all, negatives: 0}}\n"
        f"data: {{labels: labels.csv, dicom: '{source}'}}\npreprocess: {{size: {SIZE}, workers: 2}}\n"
    )
    for arguments in (["index"], ["index", "--index.hash", "true"], ["sample", "--index.hash", "true"],
                      ["preprocess", "--index.hash", "true"]):  # fmt: skip
        command = start([*arguments, "-c", str(config)], folder, chunk=32, ICH_SECONDS_A_FILE=str(SECONDS))
        code, said, _ = command.wait_and_watch()
        assert code in (0, 3), said
        assert "Traceback" not in said
        assert "Warning" not in said
        peaks.append(command.peaks)
        if arguments[0] in ("index", "preprocess"):
            check_ledger(folder / "w" / ("index.parquet" if arguments[0] == "index" else "slices.parquet"), ids)
    check_images(folder / "w")
    return Peaks(*(max(getattr(each, kind) for each in peaks) for kind in ("main", "worker", "decoder")))


def check_ledger(path: Path, ids: list[str]) -> None:
    rows = pl.read_parquet(path)
    assert rows["ImageID"].to_list() == sorted(ids)
    assert set(rows["status"]) <= {"ok", "repaired", "quarantined", "missing"}
    assert rows.filter(pl.col("status").is_in(["quarantined", "missing"]))["reason"].null_count() == 0
    assert all(reason.isprintable() and 0 < len(reason) < 400 for reason in rows["reason"].drop_nulls())
    for column in ("patient", "series", "modality", "manufacturer"):
        assert all(text.isprintable() and len(text) <= 1024 for text in rows[column].drop_nulls())


def check_images(workspace: Path) -> None:
    """Every readable slice has its image, whole and as the ledger says, and no other slice has one."""
    rows = pl.read_parquet(workspace / "slices.parquet").filter(pl.col("status").is_in(["ok", "repaired"]))
    assert {path.stem for path in (workspace / "raw_png").iterdir()} == set(rows["ImageID"])
    for image_id, size, digest in rows.select("ImageID", "png_size", "png_sha256").iter_rows():
        path = workspace / "raw_png" / f"{image_id}.png"
        content = path.read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (size, digest)
        read_png(path, SIZE)  # or DataError


def check_mutants(folder: Path, bases: list[bytes], malformed: list[bytes], count: int, bombs: int) -> None:
    write_mutants(folder / "source", bases, malformed, count, bombs)
    peaks = prepare(folder, folder / "source")
    assert peaks.decoder < 1600 * MB
    assert max(peaks.main, peaks.worker) < 500 * MB
    rows = pl.read_parquet(folder / "w" / "slices.parquet")
    assert rows["status"][: len(bases)].to_list() == ["ok"] * len(bases)  # as they were
    assert rows["hu_hash"][3 : len(bases)].n_unique() == 2  # of the slices, one in every syntax
    assert set(rows["status"][len(bases) : len(bases) + len(malformed)]) <= {"quarantined"}
    found = Counter(rows["status"])
    assert found["quarantined"] > 0.3 * count
    assert found["ok"] + found["repaired"] > 0.1 * count
    print(f"{count} files: {dict(found)}, {rows['reason'].n_unique()} reasons, {peaks}")


def test_220_damaged_files(bases, malformed, tmp_path):
    check_mutants(tmp_path, bases, malformed, 220, bombs=0)


@pytest.mark.soak
def test_3000_damaged_files(bases, malformed, tmp_path):
    check_mutants(tmp_path, bases, malformed, 3000, bombs=12)
