import itertools

import cv2
import keras
import numpy as np
import pytest

from ich.config import TrainingAugmentation
from ich.data import Manifest
from ich.training.learner import Learner, epoch_order, predict, training_batches

SIZE = 8
AUGMENTATION = TrainingAugmentation()


@pytest.fixture
def slices(tmp_path):
    """Ten images; every pixel of image i is i."""
    for i in range(10):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((SIZE, SIZE, 3), i, np.uint8))
    labels = np.zeros((10, 6), np.uint8)
    labels[:, 0] = np.arange(10) % 2
    return Manifest(tuple(map(str, range(10))), tuple(tmp_path / f"{i}.png" for i in range(10)), labels)


def first(batches, n):
    return [(images[:, 0, 0, 0].tolist(), draws, y) for (images, draws), y in itertools.islice(batches, n)]


def batches_of(slices, seed=1, first_epoch=0):
    return training_batches(slices, slices.labels[:, :1], SIZE, 4, AUGMENTATION, seed, first_epoch)


def test_the_order_depends_on_seed_and_epoch():
    assert sorted(epoch_order(100, 1, 2)) == list(range(100))
    assert np.array_equal(epoch_order(100, 1, 2), epoch_order(100, 1, 2))
    assert not np.array_equal(epoch_order(100, 1, 2), epoch_order(100, 1, 3))
    assert not np.array_equal(epoch_order(100, 1, 2), epoch_order(100, 2, 2))


def test_batches_are_full_and_no_slice_comes_twice_in_an_epoch(slices):
    seen = first(batches_of(slices), 6)
    for epoch in range(3):
        items = seen[2 * epoch][0] + seen[2 * epoch + 1][0]
        assert len(set(items)) == len(items) == 8
    assert len({tuple(items) for items, _, _ in seen}) == 6


def test_images_draws_and_targets_belong_together(slices):
    for items, _, y in first(batches_of(slices), 2):
        assert y.dtype == np.float32
        assert y[:, 0].tolist() == [i % 2 for i in items]
    one_epoch = {
        i: angle
        for items, draws, _ in first(batches_of(slices), 2)
        for i, angle in zip(items, draws.angle_degrees, strict=True)
    }
    from_other_order = training_batches(
        slices.take(np.arange(10)[::-1]), slices.labels[::-1, :1], SIZE, 5, AUGMENTATION, 1, 0
    )
    for items, draws, _ in first(from_other_order, 2):
        for i, angle in zip(items, draws.angle_degrees, strict=True):
            assert one_epoch.get(i, angle) == angle


def test_starting_at_a_later_epoch_gives_that_epochs_batches(slices):
    whole, later = first(batches_of(slices), 6), first(batches_of(slices, first_epoch=2), 2)
    for (items, draws, _), (again, drawn_again, _) in zip(whole[4:], later, strict=True):
        assert items == again
        assert np.array_equal(draws.angle_degrees, drawn_again.angle_degrees)


def mean_network():
    images = keras.Input((SIZE, SIZE, 3))
    return keras.Model(images, keras.layers.Reshape((1,))(keras.ops.mean(images, axis=(1, 2, 3))))


def test_every_slice_is_predicted_once(slices):
    assert predict(mean_network(), slices, SIZE, batch_size=4)[:, 0].tolist() == list(range(10))


def test_images_are_augmented_in_training_only(slices):
    (images, draws), _ = next(batches_of(slices))
    learner = Learner(mean_network(), TrainingAugmentation(shift=0.9))
    as_they_are = np.asarray(learner((images, draws), training=False))[:, 0]
    assert as_they_are.tolist() == images[:, 0, 0, 0].tolist()
    # Shifted out of the image and rotated, pixels give way to air.
    assert (np.asarray(learner((images, draws), training=True))[:, 0] <= as_they_are).all()
    assert not np.array_equal(np.asarray(learner((images, draws), training=True))[:, 0], as_they_are)
