"""Stored values of each kind, worked by hand, and the published repair as their inverse."""

from collections import Counter

import numpy as np
import pytest

from ich.phantom.quirks import PLAIN, Storage, draw_single, draw_storage, encode

HU = np.array([-1000, -5, 0, 40, 3000], np.float32)
INSIDE = np.zeros(5, bool)


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        (PLAIN, [24, 1019, 1024, 1064, 4024]),
        (Storage("unsigned-12", 12, False, -1024), [24, 1019, 1024, 1064, 4024]),
        (Storage("minus-1000", 12, False, -1000), [0, 995, 1000, 1040, 4000]),
        (Storage("zero-intercept", 16, True, 0), [-1000, -5, 0, 40, 3000]),
        (Storage("wrapped-12", 12, False, 1, wrapped=True), [3096, 4091, 0, 40, 3000]),
    ],
)
def test_known_hu_give_known_stored_values(storage: Storage, expected: list[int]) -> None:
    stored = encode(HU, INSIDE, storage)
    assert stored.tolist() == expected
    assert stored.dtype == (np.int16 if storage.signed else np.uint16)


def test_published_repair_undoes_the_wrap() -> None:
    hu = np.arange(-1000, 3096, dtype=np.float32)
    stored = encode(hu, np.zeros(hu.size, bool), Storage("wrapped-12", 12, False, 0, wrapped=True)).astype(int)
    repaired = stored + 1000
    repaired[repaired >= 4096] -= 4096
    np.testing.assert_array_equal(repaired - 1000, hu)
    assert stored.max() == 4095


def test_values_that_do_not_fit_are_clipped() -> None:
    extreme = np.array([-3000, 24000], np.float32)
    assert encode(extreme, np.zeros(2, bool), Storage("unsigned-12", 12, False, -1024)).tolist() == [0, 4095]
    assert encode(extreme, np.zeros(2, bool), PLAIN).tolist() == [-1976, 25024]


def test_outside_the_circle_is_padding_or_air() -> None:
    outside = np.array([True, False, False, False, False])
    assert encode(HU, outside, Storage("signed-16", 16, True, -1024, padding=-2000))[0] == -2000
    assert encode(HU, outside, PLAIN)[0] == 24
    assert encode(HU, outside, Storage("wrapped-12", 12, False, 0, wrapped=True))[0] == 3096


def test_every_kind_of_storage_is_drawn() -> None:
    rng = np.random.default_rng(0)
    drawn = Counter(draw_storage(rng).name for _ in range(1000))
    assert set(drawn) == {"signed-16", "unsigned-12", "minus-1000", "wrapped-12", "zero-intercept"}
    assert min(drawn.values()) > 30


@pytest.mark.parametrize(("patients", "faults"), [(29, 0), (30, 1), (240, 4)])
def test_a_large_set_has_truncated_and_missing_files(patients: int, faults: int) -> None:
    chosen = draw_single(np.random.default_rng(1), [4] * patients)
    found = Counter(name for fields in chosen.values() for name in fields)
    assert found["truncated"] == found["missing"] == faults
    assert found["twin"] == min(faults, 1)
    assert found["unlabelled"] == found["blank"] == 1
    assert all(len(fields) == 1 for fields in chosen.values())
