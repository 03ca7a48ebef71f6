"""Each kind of bleed lies where anatomy puts it, is denser than brain, and reaches over neighbouring slices."""

from dataclasses import replace

import numpy as np
import pytest

from ich.labels import SUBTYPES, Label
from ich.phantom.bleeds import paint_lesions
from ich.phantom.brain import Brain, paint_brain
from ich.phantom.head import Frame, build_frame, draw_head
from ich.phantom.lesions import Lesion, draw_lesions, midline_shift
from ich.phantom.plane import cut
from ich.phantom.skull import enclosed, wall_depth

HEIGHTS = np.arange(0, 115, 5.0)
LESIONS: dict[Label, Lesion] = {
    "epidural": Lesion("epidural", 70, 1, bearing=1.5, centre=(0, 0, 60), extent=(32, 12, 28)),
    "subdural": Lesion("subdural", 70, -1, "hemisphere", bearing=-1.5, centre=(0, 0, 70), extent=(1, 8, 40)),
    "subarachnoid": Lesion("subarachnoid", 70, 1, "cisterns", centre=(8, -8, 33), extent=(50, 42, 24)),
    "intraventricular": Lesion("intraventricular", 70, 1, "layer", centre=(0, 20, 0)),
    "intraparenchymal": Lesion(
        "intraparenchymal", 70, 1, "putamen", centre=(27, -6, 54), extent=(14, 16, 14), oedema=4
    ),
}


@pytest.fixture(scope="module")
def frame() -> Frame:
    return build_frame(replace(draw_head(np.random.default_rng(8)), ventricles=1.3, atrophy=0.6))


def bleed(frame: Frame, kind: Label, height: float) -> tuple[Brain, np.ndarray]:
    """A slice's brain, and where blood raises it by more than 10 HU."""
    plane = cut(frame, height, 5.0)
    brain = paint_brain(plane)
    raised = paint_lesions(brain, plane, (LESIONS[kind],))
    return brain, raised[kind] > 10 if kind in raised else np.zeros(brain.hu.shape, bool)


@pytest.mark.parametrize("kind", SUBTYPES)
@pytest.mark.parametrize("height", [10, 35, 55, 75])
def test_bleed_in_the_part_that_the_skull_encloses_is_the_same(frame: Frame, kind: Label, height: float) -> None:
    plane = cut(frame, height, 5.0)
    where = enclosed(wall_depth(plane), plane)
    whole, part = paint_brain(plane), paint_brain(plane.part(where))
    expected = paint_lesions(whole, plane, (LESIONS[kind],))
    found = paint_lesions(part, plane.part(where), (LESIONS[kind],))
    assert found.keys() == expected.keys()
    for label, raised in found.items():
        np.testing.assert_array_equal(raised, expected[label][where])
    np.testing.assert_array_equal(part.hu, whole.hu[where])


@pytest.mark.parametrize("kind", SUBTYPES)
def test_bleed_is_dense_and_reaches_over_a_run_of_slices(frame: Frame, kind: Label) -> None:
    areas, densities = [], []
    for height in HEIGHTS:
        brain, mask = bleed(frame, kind, height)
        areas.append(mask.sum())
        densities += brain.hu[mask].tolist()
    runs = "".join("1" if area else " " for area in areas).split()
    assert max(map(len, runs)) >= 4
    assert len(runs) <= (2 if kind == "intraventricular" else 1)  # the fourth ventricle lies apart
    assert 45 < np.median(densities) < 80


def test_epidural_and_subdural_lie_under_the_skull_on_their_side(frame: Frame) -> None:
    for kind, height in (("epidural", 60), ("subdural", 70)):
        lesion = LESIONS[kind]
        brain, mask = bleed(frame, kind, height)
        assert (np.sign(frame.x[mask]) == lesion.side).mean() > 0.99
        assert brain.inner[mask].max() < lesion.extent[1] + 3
        assert brain.inner[mask].min() < 1.5


def test_epidural_is_a_lens_and_subdural_a_crescent(frame: Frame) -> None:
    def span(kind: Label, height: float) -> float:
        return float(np.ptp(frame.bearing[bleed(frame, kind, height)[1]]))

    assert span("epidural", 60) < 1.2 < 1.5 < span("subdural", 70)


def test_intraventricular_blood_lies_in_the_back_of_the_ventricles(frame: Frame) -> None:
    brain, mask = bleed(frame, "intraventricular", 58)
    assert brain.ventricles[mask].min() > 0.1
    assert frame.y[mask].min() > 10


def test_subarachnoid_blood_lies_in_fluid_spaces(frame: Frame) -> None:
    brain, mask = bleed(frame, "subarachnoid", 30)
    assert mask.sum() > 50
    assert (brain.sulci[mask] > 0.1).mean() > 0.95


def test_intraparenchymal_blood_is_deep_and_has_a_dark_rim(frame: Frame) -> None:
    plane = cut(frame, 54, 5.0)
    before = paint_brain(plane).hu
    brain, mask = bleed(frame, "intraparenchymal", 54)
    assert brain.inner[mask].min() > 5
    assert (before - brain.hu).max() > 3


def test_bleeds_push_the_midline_away() -> None:
    assert midline_shift((LESIONS["epidural"],)) > 2
    assert midline_shift((LESIONS["subdural"],)) < -2
    assert midline_shift((LESIONS["intraventricular"],)) == 0


def test_enriched_has_half_of_the_patients_bleeding_and_epidural_rarest() -> None:
    rng = np.random.default_rng(2)
    patients = [{lesion.kind for lesion in draw_lesions(rng, "enriched")} for _ in range(2000)]
    share = {kind: np.mean([kind in kinds for kinds in patients]) for kind in SUBTYPES}
    assert np.mean([bool(kinds) for kinds in patients]) == pytest.approx(0.5, abs=0.04)
    assert share["epidural"] == min(share.values()) > 0.1
