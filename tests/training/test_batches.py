import itertools

import cv2
import numpy as np
import pytest

from ich.config import TrainingAugmentation
from ich.data import Manifest
from ich.training.batches import epoch_order, epoch_rows, on_device, repetitions, training_batches
from ich.training.sampling import balanced_chances

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
    """Which images each of the first batches holds, their draws and targets, without the axis of the parts."""
    return [
        (b.images.reshape(-1, SIZE, SIZE, 3)[:, 0, 0, 0].tolist(), b.draws, b.targets)
        for b in itertools.islice(batches, n)
    ]


def batches_of(slices, seed=1, first_epoch=0, shape=(1, 4)):
    return training_batches(slices, slices.labels[:, :1], SIZE, shape, AUGMENTATION, seed, first_epoch)


def test_the_order_depends_on_seed_and_epoch():
    assert sorted(epoch_order(100, 1, 2)) == list(range(100))
    assert np.array_equal(epoch_order(100, 1, 2), epoch_order(100, 1, 2))
    assert not np.array_equal(epoch_order(100, 1, 2), epoch_order(100, 1, 3))
    assert not np.array_equal(epoch_order(100, 1, 2), epoch_order(100, 2, 2))


def test_a_balanced_order_draws_by_chance_and_depends_on_seed_and_epoch():
    chances = balanced_chances(np.arange(100)[:, None] < 10)
    orders = [epoch_order(100, 1, epoch, chances) for epoch in range(200)]
    assert np.array_equal(orders[2], epoch_order(100, 1, 2, chances))
    assert not np.array_equal(orders[2], orders[3])
    assert {len(order) for order in orders} == {100}
    assert np.mean(np.array(orders) < 10) == pytest.approx(0.5, abs=4 * 0.5 / 20_000**0.5)  # four standard errors


def test_a_slice_that_comes_again_in_an_epoch_is_augmented_in_another_way(slices):
    assert repetitions(np.array([3, 1, 3, 3, 1, 0])).tolist() == [0, 0, 1, 2, 1, 0]
    chances = np.where(np.arange(10) < 2, 0.5, 0)
    first_epoch = first(
        training_batches(slices, slices.labels[:, :1], SIZE, (1, 4), AUGMENTATION, 1, 0, chances=chances), 2
    )
    items = [i for batch, _, _ in first_epoch for i in batch]
    angles = np.concatenate([draws.angle_degrees[0] for _, draws, _ in first_epoch])
    assert items == epoch_rows(10, (1, 4), 1, 0, chances).ravel().tolist()
    assert set(items) == {0, 1}
    assert len(set(angles.tolist())) == 8
    once = {
        i: a
        for batch, draws, _ in first(batches_of(slices), 2)
        for i, a in zip(batch, draws.angle_degrees[0], strict=True)
    }
    assert angles[items.index(0)] == once.get(0, angles[items.index(0)])  # the first time as if it came once


def test_batches_are_full_and_no_slice_comes_twice_in_an_epoch(slices):
    seen = first(batches_of(slices), 6)
    for epoch in range(3):
        items = seen[2 * epoch][0] + seen[2 * epoch + 1][0]
        assert len(set(items)) == len(items) == 8
        assert epoch_rows(10, (1, 4), 1, epoch).ravel().tolist() == items
    assert len({tuple(items) for items, _, _ in seen}) == 6


def test_images_draws_and_targets_belong_together(slices):
    for items, _, y in first(batches_of(slices), 2):
        assert y.dtype == np.float32
        assert y[0, :, 0].tolist() == [i % 2 for i in items]
    one_epoch = {
        i: angle
        for items, draws, _ in first(batches_of(slices), 2)
        for i, angle in zip(items, draws.angle_degrees[0], strict=True)
    }
    from_other_order = training_batches(
        slices.take(np.arange(10)[::-1]), slices.labels[::-1, :1], SIZE, (1, 5), AUGMENTATION, 1, 0
    )
    for items, draws, _ in first(from_other_order, 2):
        for i, angle in zip(items, draws.angle_degrees[0], strict=True):
            assert one_epoch.get(i, angle) == angle


def test_starting_at_a_later_epoch_gives_that_epochs_batches(slices):
    whole, later = first(batches_of(slices), 6), first(batches_of(slices, first_epoch=2), 2)
    for (items, draws, _), (again, drawn_again, _) in zip(whole[4:], later, strict=True):
        assert items == again
        assert np.array_equal(draws.angle_degrees, drawn_again.angle_degrees)


def test_parts_hold_the_same_images_in_the_same_order(slices):
    whole, parts = first(batches_of(slices), 4), first(batches_of(slices, shape=(2, 2)), 4)
    assert [items for items, _, _ in whole] == [items for items, _, _ in parts]
    assert parts[0][1].angle_degrees.shape == (2, 2)
    assert parts[0][2].shape == (2, 2, 1)


def test_batches_on_the_device_are_the_same_and_closing_them_stops_the_reading(slices):
    made = batches_of(slices)
    copied = on_device(made)
    expected = first(batches_of(slices), 3)
    for (items, draws, y), (again, drawn_again, given) in zip(expected, first(copied, 3), strict=True):
        assert items == again
        assert np.array_equal(draws.angle_degrees, drawn_again.angle_degrees)
        assert np.array_equal(y, given)
    copied.close()
    with pytest.raises(StopIteration):
        next(made)
