import cv2
import numpy as np
import pytest

from ich.errors import DataError
from ich.png import encode_png, read_png


def write(path, rgb):
    cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)
    return path


def test_what_is_written_is_read_back(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(rgb))
    assert np.array_equal(read_png(tmp_path / "a.png"), rgb)


def test_a_known_colour_comes_back_as_rgb(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    image[1, 2] = (10, 20, 30)
    assert np.array_equal(read_png(write(tmp_path / "a.png", image), size=4), image)


def test_grey_stays_grey(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    (tmp_path / "a.png").write_bytes(encode_png(grey))
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED), grey)


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(DataError, match=r"ID_1\.png cannot be read \(No such file.*preprocess"):
        read_png(tmp_path / "ID_1.png")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.99])
def test_a_truncated_image_is_an_error(tmp_path, share):
    whole = write(tmp_path / "ID_1.png", np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).read_bytes()
    (tmp_path / "ID_1.png").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"ID_1\.png is not a whole PNG"):
        read_png(tmp_path / "ID_1.png")


def test_a_flipped_byte_is_noticed(tmp_path):
    path = write(tmp_path / "ID_1.png", np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a whole PNG"):
        read_png(path)


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.uint16)]
)
def test_grey_alpha_and_16_bits_are_errors(tmp_path, image):
    cv2.imwrite(str(tmp_path / "ID_1.png"), image)
    with pytest.raises(DataError, match="must be RGB with 8 bits"):
        read_png(tmp_path / "ID_1.png")


def test_the_wrong_size_is_an_error(tmp_path):
    path = write(tmp_path / "ID_1.png", np.zeros((8, 6, 3), np.uint8))
    with pytest.raises(DataError, match=r"must have 8 x 8 pixels \(preprocess.size\), got 8 x 6"):
        read_png(path, size=8)
