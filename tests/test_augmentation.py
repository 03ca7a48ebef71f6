import hashlib
import subprocess
import sys

import cv2
import jax
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.stats import beta, kstest

from ich.augmentation import Draws, apply, compiled, displacement, draw, item_keys, mix, to_uint8
from ich.config import OfflineAugmentation, TrainingAugmentation

TRANSFORMS = ("horizontal_flip", "vertical_flip", "rotate", "brightness_contrast", "blur", "elastic", "shift")
EVERYTHING = OfflineAugmentation(shift=0.1)


def only(**on) -> OfflineAugmentation:
    return OfflineAugmentation(**(dict.fromkeys(TRANSFORMS, 0) | on))


def drawn(count: int = 1, **changes) -> Draws:
    """Parameters that change nothing, but for `changes`."""
    nothing = draw(only(), 0, 0, np.arange(count))
    return nothing._replace(
        **{field: np.full(count, value, getattr(nothing, field).dtype) for field, value in changes.items()}
    )


def noise_images(count: int, height: int = 48, width: int = 48) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, height, width, 3), np.uint8)


def head_like(size: int) -> np.ndarray:
    """Smooth and sharp-edged at once: a bright ring, a dark disc, a gradient; different in every channel."""
    row, column = np.mgrid[:size, :size] / size - 0.5
    radius = np.hypot(row, column * 1.2)
    channels = [
        255 * (abs(radius - 0.4) < 0.03),
        120 * (radius < 0.37) + 80 * row,
        200 * np.exp(-((radius / 0.3) ** 2)),
    ]
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def run(images: np.ndarray, draws: Draws, config) -> np.ndarray:
    return np.asarray(compiled(config)(images, draws))


# Draw


def test_draws_depend_on_seed_epoch_and_item_only():
    keys = item_keys(f"ID_{i:09x}" for i in range(100))
    all_at_once = draw(EVERYTHING, 42, 3, keys)
    order = np.random.default_rng(0).permutation(100)
    for field, shuffled in zip(all_at_once, draw(EVERYTHING, 42, 3, keys[order]), strict=True):
        np.testing.assert_array_equal(field[order], shuffled)
    for other in (draw(EVERYTHING, 42, 4, keys), draw(EVERYTHING, 43, 3, keys)):
        assert np.mean(other.angle_degrees == all_at_once.angle_degrees) < 0.5  # only those that are not rotated
        assert not (other.elastic_seed == all_at_once.elastic_seed).any()


def test_changing_one_transform_leaves_the_draws_of_the_others():
    keys = np.arange(1000)
    before, after = draw(EVERYTHING, 1, 0, keys), draw(EVERYTHING.model_copy(update={"rotate": 0.9}), 1, 0, keys)
    changed = [name for name in Draws._fields if not np.array_equal(getattr(before, name), getattr(after, name))]
    assert changed == ["angle_degrees"]


def test_the_share_of_a_mixed_image_is_the_upper_half_of_a_beta():
    keys = np.arange(20_000)
    share = draw(TrainingAugmentation(mixup=0.4), 1, 0, keys).own_share
    assert kstest(share, lambda x: 2 * beta.cdf(x, 0.4, 0.4) - 1).pvalue > 0.01
    assert share.min() >= 0.5
    for config in (TrainingAugmentation(), EVERYTHING):
        assert (draw(config, 1, 0, keys).own_share == 1).all()


def test_mixing_by_hand():
    shares, values = np.float32([1, 0.75, 0.5]), np.float32([[0, 8], [4, 0], [8, 8]])
    assert np.asarray(mix(values, shares)).tolist() == [[0, 8], [3, 2], [6, 4]]


def test_keys_are_the_same_in_every_process():
    assert item_keys(["ID_000012eaf"]).tobytes().hex() == "5e8dd30a52eaea41"  # printf ID_000012eaf | b2sum -l 64


def test_twenty_thousand_draws_follow_the_config():
    draws = draw(EVERYTHING, 42, 0, item_keys(f"ID_{i:09x}" for i in range(20_000)))
    shares = {
        "horizontal_flip": (draws.horizontal_flip, 0.5), "vertical_flip": (draws.vertical_flip, 0.3),
        "rotate": (draws.angle_degrees != 0, 0.5), "elastic": (draws.elastic, 0.3),
        "brightness_contrast": (draws.contrast != 1, 0.3), "blur": (draws.blur_kernel > 1, 0.2),
        "kernel 3": (draws.blur_kernel[draws.blur_kernel > 1] == 3, 0.5),
    }  # fmt: skip
    for name, (happened, nominal) in shares.items():
        assert happened.mean() == pytest.approx(nominal, abs=4 * (nominal * (1 - nominal) / len(happened)) ** 0.5), name
    for values, limit in (
        (draws.angle_degrees[draws.angle_degrees != 0], 15), (draws.shift_rows, 0.1), (draws.shift_columns, 0.1),
        (draws.contrast[draws.contrast != 1] - 1, 0.2), (draws.brightness[draws.brightness != 0], 0.2),
    ):  # fmt: skip
        assert 0.99 * limit < np.abs(values).max() <= limit
        assert values.std() == pytest.approx(limit / 3**0.5, rel=0.03)  # uniform
        assert values.mean() == pytest.approx(0, abs=4 * limit / (3 * len(values)) ** 0.5)
    assert set(draws.blur_kernel) == {1, 3, 5}
    happened = [values for values, _ in list(shares.values())[:-1]]
    independent = np.corrcoef([*happened, draws.shift_rows, draws.shift_columns])
    assert np.abs(independent - np.eye(8)).max() < 4 / 20_000**0.5


def test_training_draws_have_neither_vertical_flips_nor_grey_level_changes():
    draws = draw(TrainingAugmentation(), 42, 0, np.arange(1000))
    assert not draws.vertical_flip.any()
    assert not draws.elastic.any()
    assert (draws.contrast == 1).all()
    assert (draws.blur_kernel == 1).all()
    assert 9 < np.abs(draws.angle_degrees).max() <= 10
    assert 0.09 < np.abs(draws.shift_rows).max() <= 0.1


# Apply: geometry


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"horizontal_flip": True}, lambda image: image[:, ::-1]),
        ({"vertical_flip": True}, lambda image: image[::-1]),
        ({"angle_degrees": 0}, lambda image: image),
        ({"angle_degrees": 90}, np.rot90),  # counter-clockwise
        ({"angle_degrees": 180}, lambda image: image[::-1, ::-1]),
        ({"horizontal_flip": True, "angle_degrees": 90}, lambda image: np.rot90(image[:, ::-1])),  # flip first
    ],
)
def test_flips_and_right_angles_move_whole_pixels(changes, expected):
    image = noise_images(1)
    result = run(image, drawn(**changes), EVERYTHING)
    np.testing.assert_allclose(result[0], expected(image[0]), atol=0.02)
    np.testing.assert_array_equal(np.asarray(to_uint8(result))[0], expected(image[0]))


def test_a_shift_by_whole_pixels_brings_in_air():
    image = noise_images(1, 64, 32)
    result = run(image, drawn(shift_rows=4 / 64, shift_columns=-2 / 32), only(shift=0.1))[0]
    assert (result[:4] == 0).all()  # down by four
    assert (result[:, -2:] == 0).all()  # to the left by two
    np.testing.assert_array_equal(result[4:, :-2], image[0, :-4, 2:])


def test_half_a_pixel_is_the_mean_of_two():
    image = np.array([[0, 100, 50, 0]], np.uint8).reshape(1, 1, 4, 1).repeat(3, axis=3)
    result = run(image, drawn(shift_columns=0.5 / 4), only(shift=0.2))
    np.testing.assert_array_equal(result[0, 0, :, 0], [0, 50, 75, 25])


@pytest.mark.parametrize("size", [(64, 64), (61, 90)])
def test_rotation_and_shift_agree_with_opencv(size):
    height, width = size
    image = cv2.resize(head_like(128), (width, height), interpolation=cv2.INTER_AREA)
    angle, down, right = 12.3, 0.07, -0.04
    result = run(image[None], drawn(angle_degrees=angle, shift_rows=down, shift_columns=right), EVERYTHING)[0]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1)
    matrix[:, 2] += right * width, down * height
    reference = cv2.warpAffine(image.astype(np.float32), matrix, (width, height), flags=cv2.INTER_LINEAR)
    np.testing.assert_allclose(result, reference, atol=0.02)


def test_the_whole_warp_is_one_bilinear_sampling_at_the_composed_coordinates():
    size, elastic = 64, {"elastic": True, "elastic_seed": 123}
    draws = drawn(horizontal_flip=True, angle_degrees=-14, shift_rows=0.05, shift_columns=0.08, **elastic)
    image = head_like(size)
    result = run(image[None], draws, EVERYTHING)[0]
    down, right = (np.asarray(field)[0].astype(float) for field in displacement(draws.elastic_seed, size, size, 30, 5))
    row, column = np.mgrid[:size, :size] - (size - 1) / 2
    row, column = row + down - 0.05 * size, column + right - 0.08 * size
    turn = np.deg2rad(-14)
    row, column = np.cos(turn) * row + np.sin(turn) * column, np.cos(turn) * column - np.sin(turn) * row
    at = [row + (size - 1) / 2, -column + (size - 1) / 2]
    for channel in range(3):
        framed = np.pad(image[..., channel].astype(float), 1)  # blend into the air, as OpenCV does
        reference = map_coordinates(framed, [at[0] + 1, at[1] + 1], order=1, mode="constant")
        np.testing.assert_allclose(result[..., channel], reference, atol=0.05)


def test_elastic_field_is_the_smoothed_noise_of_simard():
    seeds = np.arange(8, dtype=np.uint32)
    down, right = (np.asarray(field) for field in displacement(seeds, 128, 128, 30, 5))
    nominal = 30 / 3**0.5 / (2 * np.pi**0.5 * 5)  # 0.977 pixels
    for field in (down, right):
        assert field.mean() == pytest.approx(0, abs=0.1)
        assert field.std() == pytest.approx(nominal, rel=0.1)
        assert field[:, :4].std() == pytest.approx(nominal, rel=0.3)  # no weaker at the border
    neighbours = np.corrcoef(down[:, :, :-5].ravel(), down[:, :, 5:].ravel())[0, 1]
    assert neighbours == pytest.approx(np.exp(-(5**2) / (4 * 5**2)), abs=0.07)  # of noise smoothed by sigma 5
    assert abs(np.corrcoef(down.ravel(), right.ravel())[0, 1]) < 0.15
    assert abs(np.corrcoef(down[0].ravel(), down[1].ravel())[0, 1]) < 0.4


def test_elastic_field_has_the_spread_of_the_definition_in_scipy():
    noise = np.random.default_rng(0).uniform(-1, 1, (6, 160, 160))
    reference = [30 * gaussian_filter(field, 5)[16:-16, 16:-16] for field in noise]
    ours = displacement(np.arange(6, dtype=np.uint32), 128, 128, 30, 5)[0]
    assert np.std(np.asarray(ours)) == pytest.approx(np.std(reference), rel=0.15)


# Apply: grey levels


def test_contrast_multiplies_then_brightness_adds_a_share_of_255():
    image = np.array([0, 10, 100, 200, 255], np.uint8).reshape(1, 1, 5, 1).repeat(3, axis=3)
    result = run(image, drawn(contrast=1.2, brightness=-0.1), only(brightness_contrast=1))
    np.testing.assert_allclose(result[0, 0, :, 1], [0, 0, 94.5, 214.5, 255], rtol=1e-5)  # 1.2 x - 25.5, clipped


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_blur_is_opencvs(kernel):
    image = noise_images(1)
    result = run(image, drawn(blur_kernel=kernel), only(blur=1))
    reference = cv2.GaussianBlur(image[0].astype(np.float32), (kernel, kernel), 0)
    np.testing.assert_allclose(result[0], reference, atol=1e-3)


def test_blur_of_three_spreads_a_point_by_quarters_and_halves():
    image = np.zeros((1, 5, 5, 3), np.uint8)
    image[0, 2, 2] = 160
    result = run(image, drawn(blur_kernel=3), only(blur=1))[0, 1:4, 1:4, 0]
    np.testing.assert_array_equal(result, [[10, 20, 10], [20, 40, 20], [10, 20, 10]])


# Apply: as a whole


def test_nothing_is_changed_when_nothing_is_on():
    images = noise_images(3)
    np.testing.assert_array_equal(run(images, draw(only(), 42, 0, np.arange(3)), only()), images)


def test_a_transform_that_was_not_drawn_changes_nothing():
    images = noise_images(3)
    np.testing.assert_array_equal(run(images, drawn(3), EVERYTHING), images)


def test_a_batch_gives_what_its_images_give_alone():
    images, draws = noise_images(6), draw(EVERYTHING, 42, 0, np.arange(6))
    together = run(images, draws, EVERYTHING)
    for i in range(6):
        alone = run(images[i : i + 1], Draws(*(field[i : i + 1] for field in draws)), EVERYTHING)
        np.testing.assert_allclose(alone[0], together[i], atol=1e-3)


def test_output_is_float_in_range_and_not_rounded():
    result = run(noise_images(8), draw(EVERYTHING, 1, 0, np.arange(8)), EVERYTHING)
    assert result.dtype == np.float32
    assert result.shape == (8, 48, 48, 3)
    assert -1e-3 < result.min() < result.max() < 255.001
    assert (result != np.round(result)).any()
    rounded = np.asarray(compiled(EVERYTHING, rounded=True)(noise_images(8), draw(EVERYTHING, 1, 0, np.arange(8))))
    assert rounded.dtype == np.uint8
    assert np.abs(rounded - result).max() <= 0.501


def test_transforms_that_are_off_are_not_in_the_graph():
    images, draws = noise_images(2), drawn(2)
    graph = {name: str(jax.make_jaxpr(lambda x, d, c=config: apply(x, d, c))(images, draws)) for name, config in {
        "nothing": only(), "training": TrainingAugmentation(), "all": EVERYTHING,
    }.items()}  # fmt: skip
    assert graph["nothing"].count("\n") < 5
    assert "xor" in graph["all"]
    assert "xor" not in graph["training"]
    assert "gather" in graph["training"]
    assert "dot_general" not in graph["all"]  # coordinates never go through a matrix product


def test_float32_coordinates_survive_a_mixed_precision_policy():
    import keras

    image, draws = noise_images(1), drawn(angle_degrees=180)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        result = np.asarray(compiled.__wrapped__(EVERYTHING)(image, draws))
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(result[0], image[0, ::-1, ::-1], atol=0.02)


def test_same_seed_same_bytes_in_another_process():
    program = (
        "import hashlib, numpy as np; from ich.augmentation import *; from ich.config import OfflineAugmentation as C;"
        "x = np.random.default_rng(7).integers(0, 256, (4, 48, 48, 3), np.uint8);"
        "y = compiled(C(shift=.1), rounded=True)(x, draw(C(shift=.1), 42, 1, item_keys('abcd')));"
        "print(hashlib.sha256(np.asarray(y).tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    draws = draw(EVERYTHING, 42, 1, item_keys("abcd"))
    here = np.asarray(compiled(EVERYTHING, rounded=True)(noise_images(4), draws))
    assert hashlib.sha256(here.tobytes()).hexdigest() == there
