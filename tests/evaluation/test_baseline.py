from collections.abc import Callable
from pathlib import Path

import numpy as np

from ich.evaluation import baseline
from ich.sources import locate_files


def make_head(gap: int = 0) -> np.ndarray:
    """A ring of bone, 10 x 10 pixels of blood inside, scalp as dense outside; `gap` pixels of bone are missing."""
    rows, columns = np.mgrid[:256, :256] - 128
    radius = np.hypot(rows, columns)
    hu = np.where(radius < 110, 60, -1000)  # scalp: as dense as blood
    hu[radius < 100] = 1000
    hu[radius < 90] = 30
    hu[100:110, 120:130] = 65
    if gap:
        hu[:128, 128 - gap // 2 : 128 + gap - gap // 2] = 30
        hu[100:110, 120:130] = 65
    return hu.astype(np.int16)


def test_counts_blood_inside_the_skull_only():
    assert baseline.blood_pixels(make_head()) == 100


def test_a_suture_is_bridged_and_an_open_skull_encloses_nothing():
    assert baseline.blood_pixels(make_head(gap=3)) == 100
    assert baseline.blood_pixels(make_head(gap=40)) == 0


def test_density_limits_are_included():
    hu = make_head()
    hu[100:110, 120:130] = np.repeat([49, 50, 80, 81, 65], 20).reshape(10, 10)
    assert baseline.blood_pixels(hu) == 60


def test_air_and_solid_bone_enclose_nothing():
    assert not baseline.inside_skull(np.full((64, 64), -1000, np.int16)).any()
    assert not baseline.inside_skull(np.full((64, 64), 1000, np.int16)).any()


def test_a_file_that_cannot_be_read_is_nan(dicom_slice: Callable[..., Path], tmp_path: Path):
    readable = dicom_slice("ID_1", (make_head() + 1024).astype(np.int16))
    files = locate_files(["ID_1", "ID_2"], [str(tmp_path)])
    assert [Path(file.path) for file in files] == [readable, tmp_path / "ID_2.dcm"]
    done: list[int] = []
    np.testing.assert_array_equal(baseline.scores(files, done.append), [100, np.nan])
    assert sum(done) == 2
