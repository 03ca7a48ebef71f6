import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from ich import png
from ich.errors import DataError
from ich.png import encode_png, read_png, read_pngs

RGB = np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)


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


def by_opencv(path, size=None):
    """What `read_png` says of a file that is not as ours are."""
    return png._read_by_opencv(path, path.read_bytes(), size)


def outcome(read, *arguments):
    try:
        return read(*arguments).tolist()
    except DataError as error:
        return str(error)


@pytest.fixture
def no_opencv(monkeypatch):
    monkeypatch.delattr(png.cv2, "imdecode")


@given(arrays(np.uint8, st.tuples(st.integers(1, 140), st.integers(1, 9), st.just(3))))
def test_any_image_is_read_as_opencv_reads_it(tmp_path_factory, image):
    path = tmp_path_factory.getbasetemp() / "any.png"
    path.write_bytes(encode_png(image))
    assert np.array_equal(read_png(path), image)
    assert np.array_equal(by_opencv(path), image)


@pytest.mark.parametrize("shape", [(1, 1), (63, 2), (64, 2), (65, 64), (129, 3), (256, 256), (1024, 1024)])
def test_our_files_are_read_without_opencv(tmp_path, no_opencv, shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(image))
    assert np.array_equal(read_png(tmp_path / "a.png"), image)


def test_many_images_are_read_as_one_by_one(tmp_path):
    """Ours and others among each other, more than are added up together."""
    rng, paths, images = np.random.default_rng(1), [], rng_images(37)
    for i, image in enumerate(images):
        path = tmp_path / f"{i}.png"
        path.write_bytes(encode_png(image)) if rng.random() < 0.7 else write(path, image)
        paths.append(path)
    assert np.array_equal(read_pngs(paths, 70), images)
    paths[20].write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"20\.png is not a whole PNG"):
        read_pngs(paths, 70)


def rng_images(n):
    return np.random.default_rng(2).integers(0, 256, (n, 70, 70, 3), np.uint8)


def filtered(rgb, kind):
    """Rows of an image, each with its filter type before it (PNG specification 9.2)."""
    rows = np.pad(rgb.reshape(len(rgb), -1).astype(int), [(1, 0), (3, 0)])
    x, a, b, c = rows[1:, 3:], rows[1:, :-3], rows[:-1, 3:], rows[:-1, :-3]
    distances = np.abs([b - c, a - c, a + b - 2 * c])
    paeth = np.choose(distances.argmin(axis=0), [a, b, c])
    values = x - [0 * x, a, b, (a + b) // 2, paeth][kind]
    return np.insert(values % 256, 0, kind, axis=1).astype(np.uint8).tobytes()


def framed(rgb, rows, colour=2):
    return png._framed(*rgb.shape[:2], colour, zlib.compress(rows))


@pytest.mark.parametrize("kind", range(5))
def test_every_filter_is_read(tmp_path, kind):
    (tmp_path / "a.png").write_bytes(framed(RGB, filtered(RGB, kind)))
    assert np.array_equal(read_png(tmp_path / "a.png"), RGB)


def test_one_row_with_another_filter_is_noticed(tmp_path):
    up, average = filtered(RGB, 2), filtered(RGB, 3)
    (tmp_path / "a.png").write_bytes(framed(RGB, up[:-16] + average[-16:]))
    assert np.array_equal(read_png(tmp_path / "a.png"), RGB)


@pytest.mark.parametrize("optimize", [False, True])
def test_files_of_pillow_are_read(tmp_path, optimize):
    Image.fromarray(RGB).save(tmp_path / "a.png", optimize=optimize)
    assert np.array_equal(read_png(tmp_path / "a.png"), RGB)


def test_content_in_two_chunks_is_read(tmp_path):
    pixels = zlib.compress(filtered(RGB, 2))
    parts = [b"".join(png._chunk(b"IDAT", part)) for part in (pixels[:20], pixels[20:])]
    whole = png._framed(6, 5, 2, pixels)
    (tmp_path / "a.png").write_bytes(whole[:33] + b"".join(parts) + whole[-12:])
    assert np.array_equal(read_png(tmp_path / "a.png"), RGB)


@pytest.mark.parametrize("size", [None, 6])
def test_a_damaged_file_of_ours_is_what_it_is_to_opencv(tmp_path, size):
    whole, path = encode_png(RGB), tmp_path / "ID_1.png"
    # Only lowest bits: to a chunk that says that it has 4 GB OpenCV gives the memory.
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for content in [*flipped, *(whole[:end] for end in range(len(whole))), whole + b"more", whole + whole]:
        path.write_bytes(content)
        assert outcome(read_png, path, size) == outcome(by_opencv, path, size)


def test_damage_under_a_right_checksum_is_what_it_is_to_opencv_or_harmless(tmp_path):
    """ISA-L does not mind an incomplete code that no pixel needs, zlib does; then the pixels' own checksum is right."""
    whole, path = encode_png(RGB), tmp_path / "ID_1.png"
    pixels = whole[41:-16]
    flipped = [pixels[:at] + bytes([pixels[at] ^ 1]) + pixels[at + 1 :] for at in range(len(pixels))]
    for content in [*flipped, *(pixels[:end] for end in range(len(pixels))), pixels + b"more", pixels + pixels]:
        path.write_bytes(png._framed(6, 5, 2, content))
        assert outcome(read_png, path) in (outcome(by_opencv, path), RGB.tolist())


@pytest.mark.parametrize(
    "shape", [(0, 5), (6, 0), (5, 6), (7, 5), (5, 5), (2**31, 5), (6, 2**31), (2**32 - 1, 2**32 - 1)]
)
def test_a_header_that_promises_another_size_is_what_it_is_to_opencv(tmp_path, shape):
    (tmp_path / "ID_1.png").write_bytes(png._framed(*shape, 2, zlib.compress(filtered(RGB, 2))))
    assert outcome(read_png, tmp_path / "ID_1.png") == outcome(by_opencv, tmp_path / "ID_1.png")


def test_more_content_than_the_image_has_is_not_inflated(tmp_path):
    rows = filtered(RGB, 2)
    (tmp_path / "a.png").write_bytes(framed(RGB, rows + bytes(100)))
    assert outcome(read_png, tmp_path / "a.png") == outcome(by_opencv, tmp_path / "a.png")


@pytest.mark.parametrize("end", [0, 1, 8, 32, 41, 57])
def test_the_start_of_a_file_of_ours_is_an_error(tmp_path, end):
    (tmp_path / "ID_1.png").write_bytes(encode_png(RGB)[:end])
    with pytest.raises(DataError, match=r"ID_1\.png is not a whole PNG file; delete it"):
        read_png(tmp_path / "ID_1.png", 6)


def test_a_file_of_ours_of_the_wrong_size_is_an_error(tmp_path):
    (tmp_path / "ID_1.png").write_bytes(encode_png(RGB))
    with pytest.raises(DataError, match=r"must have 6 x 6 pixels \(preprocess.size\), got 6 x 5"):
        read_png(tmp_path / "ID_1.png", size=6)
