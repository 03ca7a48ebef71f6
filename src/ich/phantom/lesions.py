"""The five kinds of haemorrhage as numbers: how often, where, how large, how dense. `bleeds` paints them."""

from dataclasses import dataclass

import numpy as np

from ich.labels import SUBTYPES, Label

Point = tuple[float, float, float]

# Share of patients with a bleed; then how often each kind is drawn for a bleeding patient. `rsna` is set so that the
# share of positive slices comes out as in the RSNA 2019 training set (14.3 %, epidural 0.42 %).
PREVALENCE: dict[str, tuple[float, dict[Label, float]]] = {
    "enriched": (
        0.5,
        {
            "epidural": 0.2,
            "intraparenchymal": 0.36,
            "intraventricular": 0.28,
            "subarachnoid": 0.32,
            "subdural": 0.28,
        },
    ),
    "rsna": (
        0.36,
        {
            "epidural": 0.034,
            "intraparenchymal": 0.47,
            "intraventricular": 0.36,
            "subarachnoid": 0.36,
            "subdural": 0.34,
        },
    ),
}
BLOOD_HU = (50, 80)  # acute, clotting to clotted; before noise and partial volume
SECOND = 0.25  # chance of a second bleed of the same kind, where that kind comes in several


@dataclass(frozen=True)
class Lesion:
    """One bleed. Lengths in mm, angles in radians."""

    kind: Label
    hu: float
    side: int  # 1 left, -1 right
    site: str = ""
    bearing: float = 0.0  # direction of its middle from the axis of the head (epidural, subdural)
    centre: Point = (0.0, 0.0, 0.0)
    extent: Point = (1.0, 1.0, 1.0)  # radii; epidural: along the skull, thickness, height; subdural: angle first
    angle: float = 0.0
    rough: float = 1.0  # how ragged its surface is
    mottle: float = 2.0  # HU of its inner unevenness
    oedema: float = 0.0  # width of the hypodense rim


def draw_lesions(rng: np.random.Generator, prevalence: str) -> tuple[Lesion, ...]:
    """Draw a patient's bleeds; most bleeding patients have one or two kinds."""
    share, frequencies = PREVALENCE[prevalence]
    if rng.random() >= share:
        return ()
    kinds: list[Label] = []
    while not kinds:
        kinds = [kind for kind in SUBTYPES if rng.random() < frequencies[kind]]
    lesions = []
    for kind in kinds:
        several = kind in ("intraparenchymal", "subdural", "subarachnoid")
        count = 2 if several and rng.random() < SECOND else 1
        lesions += [_DRAW[kind](rng, 1 if rng.random() < 0.5 else -1) for _ in range(count)]
    return tuple(lesions)


def midline_shift(lesions: tuple[Lesion, ...]) -> float:
    """Shift of the midline to the patient's right that the bleeds cause, mm."""
    shift = 0.0
    for lesion in lesions:
        if lesion.kind == "epidural" or lesion.site == "hemisphere":
            shift += lesion.side * max(lesion.extent[1] - 4, 0) * 0.6
        elif lesion.site in ("putamen", "lobe"):
            shift += lesion.side * max(min(lesion.extent) - 8, 0) * 0.35
    return min(max(shift, -9.0), 9.0)


def _epidural(rng: np.random.Generator, side: int) -> Lesion:
    """A lens under the skull, mostly temporal or parietal."""
    length = rng.uniform(27, 44)
    return Lesion(
        kind="epidural",
        hu=rng.uniform(*BLOOD_HU),
        side=side,
        bearing=side * float(np.clip(rng.normal(1.5, 0.5), 0.35, 2.7)),
        centre=(0, 0, rng.uniform(28, 88)),
        extent=(length, rng.uniform(0.26, 0.5) * length, rng.uniform(0.75, 1.0) * length),
        rough=rng.uniform(0.3, 1),
        mottle=rng.uniform(1, 4),
    )


def _subdural(rng: np.random.Generator, side: int) -> Lesion:
    """A crescent over one hemisphere, or a layer along the falx or on the tentorium."""
    return Lesion(
        kind="subdural",
        hu=rng.uniform(*BLOOD_HU),
        side=side,
        site=str(rng.choice(["hemisphere", "falx front", "falx back", "tentorium"], p=[0.8, 0.06, 0.07, 0.07])),
        bearing=side * float(np.clip(rng.normal(1.5, 0.35), 0.8, 2.2)),
        centre=(0, 0, rng.uniform(55, 90)),
        extent=(rng.uniform(0.75, 1.35), 5 + rng.gamma(2, 1.8), rng.uniform(28, 52)),
        rough=rng.uniform(0.5, 1.6),
        mottle=rng.uniform(1, 6),
    )


def _subarachnoid(rng: np.random.Generator, side: int) -> Lesion:
    """Blood in the cisterns (aneurysm) or in the sulci of a region (trauma)."""
    if rng.random() < 0.45:
        site, centre = "cisterns", (8.0 * side, -8.0, 33.0)
        extent = (rng.uniform(40, 62), rng.uniform(36, 52), rng.uniform(20, 30))
    else:
        site, centre = "sulci", _around(side * rng.uniform(0.3, 2.7), rng.uniform(0.6, 0.85), rng.uniform(50, 105))
        extent = (rng.uniform(26, 42), rng.uniform(28, 46), rng.uniform(16, 30))
    return Lesion("subarachnoid", rng.uniform(*BLOOD_HU), side, site, centre=centre, extent=extent)


def _intraventricular(rng: np.random.Generator, side: int) -> Lesion:
    """Blood that layers in the back of the ventricles, or fills one as a cast."""
    return Lesion(
        kind="intraventricular",
        hu=rng.uniform(*BLOOD_HU),
        side=side,
        site="layer" if rng.random() < 0.6 else "cast",
        centre=(0, rng.uniform(-5, 24), 0),
        mottle=rng.uniform(1, 4),
    )


def _intraparenchymal(rng: np.random.Generator, side: int) -> Lesion:
    """In the basal ganglia, thalamus, a lobe, the cerebellum or the pons."""
    site = str(rng.choice(["putamen", "thalamus", "lobe", "cerebellum", "pons"], p=[0.27, 0.15, 0.42, 0.11, 0.05]))
    sites: dict[str, Point] = {
        "putamen": (side * 27.0, -6, 54),
        "thalamus": (side * 13.0, 10, 54),
        "lobe": _around(side * rng.uniform(0.25, 2.75), rng.uniform(0.48, 0.66), rng.uniform(45, 98)),
        "cerebellum": (side * 24.0, 48, 2),
        "pons": (side * 2.0, 14, 12),
    }
    size = rng.uniform(*{"pons": (6, 10), "thalamus": (9, 14)}.get(site, (10, 24)))
    x, y, z = sites[site]
    return Lesion(
        kind="intraparenchymal",
        hu=rng.uniform(*BLOOD_HU),
        side=side,
        site=site,
        centre=(x + rng.normal(0, 2), y + rng.normal(0, 3), z + rng.normal(0, 3)),
        extent=(size * rng.uniform(0.7, 1.05), size * rng.uniform(0.9, 1.3), size * rng.uniform(0.8, 1.1)),
        angle=rng.uniform(-1, 1),
        rough=rng.uniform(0.8, 2.6),
        mottle=rng.uniform(1, 4),
        oedema=rng.uniform(0, 7),
    )


def _around(bearing: float, reach: float, height: float) -> Point:
    """A point in the brain: direction from the axis, share of the way to the skull, height."""
    return float(reach * 66 * np.sin(bearing)), float(-reach * 80 * np.cos(bearing)), height


_DRAW = {
    "epidural": _epidural,
    "subdural": _subdural,
    "subarachnoid": _subarachnoid,
    "intraventricular": _intraventricular,
    "intraparenchymal": _intraparenchymal,
}
