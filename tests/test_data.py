import itertools
import time

import cv2
import numpy as np
import pytest

from ich.data import Manifest, image_batches, pad_batch, prefetch, read_manifest
from ich.errors import DataError
from ich.labels import LABELS

HEADER = "ImageID," + ",".join(LABELS)


def write(path, rgb):
    cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)
    return path


def test_a_manifest_keeps_the_order_of_its_table(tmp_path):
    (tmp_path / "t.csv").write_text(f"{HEADER}\nID_b,1,0,0,0,0,1\nID_a_aug_0,1,1,0,0,0,0\n")
    for name in ("ID_a_aug_0", "ID_b"):
        write(tmp_path / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
    slices = read_manifest(tmp_path / "t.csv", tmp_path)
    assert slices.ids == ("ID_b", "ID_a_aug_0")
    assert slices.labels.tolist() == [[1, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0]]
    assert slices.take(np.array([1])).paths == (tmp_path / "ID_a_aug_0.png",)


def test_a_table_without_its_images_is_an_error(tmp_path):
    (tmp_path / "t.csv").write_text(f"{HEADER}\nID_a,0,0,0,0,0,0\nID_b,0,0,0,0,0,0\n")
    with pytest.raises(DataError, match=r"ID_a\.png does not exist \(2 of the 2 images"):
        read_manifest(tmp_path / "t.csv", tmp_path / "nowhere")


def test_an_empty_table_is_an_error(tmp_path):
    (tmp_path / "t.csv").write_text(HEADER + "\n")
    with pytest.raises(DataError, match="has no rows"):
        read_manifest(tmp_path / "t.csv", tmp_path)


def test_every_image_comes_once_and_in_order(tmp_path):
    paths = [write(tmp_path / f"{i}.png", np.full((4, 4, 3), i, np.uint8)) for i in range(11)]
    slices = Manifest(tuple(map(str, paths)), tuple(paths), np.zeros((11, 6), np.uint8))
    batches = list(image_batches(slices, size=4, batch_size=3))
    assert [len(batch) for batch in batches] == [3, 3, 3, 2]
    assert np.concatenate(batches)[:, 0, 0, 0].tolist() == list(range(11))


def test_a_short_batch_is_filled_with_air():
    padded = pad_batch(np.ones((2, 4, 4, 3), np.uint8), 5)
    assert padded.shape == (5, 4, 4, 3)
    assert padded.sum() == 2 * 4 * 4 * 3


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_prefetching_keeps_the_order(threads):
    def slow_for_even(i):
        time.sleep(0.002 * (i % 2 == 0))
        return i * i

    assert list(prefetch(slow_for_even, range(20), threads)) == [i * i for i in range(20)]


def test_an_error_comes_where_its_result_would_have_come():
    results = prefetch(lambda i: 1 // (3 - i), range(10), threads=4)
    assert list(itertools.islice(results, 3)) == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_stops_endless_work():
    loaded = []
    results = prefetch(loaded.append, itertools.count(), threads=2)
    next(results)
    results.close()
    assert len(loaded) <= 4
