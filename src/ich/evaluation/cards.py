"""Test slices as the report shows them: pictures, probabilities, and why each is there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ich.evaluation.statistics.sample import Sample
from ich.labels import LABELS
from ich.level_names import NOUNS
from ich.page import data_uri, shrink
from ich.png import encode_png, read_png

IMAGE_SIDE = 256  # pixels, at most: 24 examples stay under 2 MB
STRIP_SIDE = 128  # pixels of each of a strip's three windows
QUALITY = 80  # of WebP: a hundred strips stay under 1 MB


def examples(content: Mapping[str, Any], test: Sample, images: Path) -> list[dict[str, Any]]:
    """The slices drawn by seed: each with the network's RGB image, its green channel, and six bars."""
    return [_example(each, content, test, images) for each in content["examples"]]


def _example(example: Mapping[str, Any], content: Mapping[str, Any], test: Sample, images: Path) -> dict[str, Any]:
    row, image_id = example["row"], example["image_id"]
    picture = shrink(read_png(images / f"{image_id}.png"), IMAGE_SIDE)
    return {
        "image_id": image_id,
        "kind": example["kind"],
        "rgb": data_uri(encode_png(picture)),
        "green": data_uri(encode_png(picture[:, :, 1])),
        "bars": [
            {
                "label": label,
                "probability": float(test.probabilities[row, column]),
                "true": bool(test.truth[row, column]),
                "threshold": content["thresholds"]["slice"][label]["value"],
            }
            for column, label in enumerate(LABELS)
        ],
    }


def mistakes(content: Mapping[str, Any], test: Sample, images: Path | None) -> list[dict[str, Any]]:
    """Groups of errors, each with a title, a note, a table or none, and cards by label; those with something to show.

    Where nothing could be judged, as without series, the group of positives between negatives is left out.
    """
    if not content.get("mistakes"):
        return []
    found = content["mistakes"]
    groups = [_confident(found["confident"], test, images)]
    if not found["isolated"]["reason"]:
        groups.append(_isolated(found["isolated"], test, images))
    return [*groups, _label_errors(found["label_errors"], test, images, content["phantom"])]


def _confident(found: Sequence[Mapping[str, Any]], test: Sample, images: Path | None) -> dict[str, Any]:
    by_label: dict[str, list[dict[str, Any]]] = {label: [] for label in LABELS}
    for each in found:
        by_label[each["label"]].append(_card(each["kind"], each, each["label"], test, images))
    return {
        "title": "Most confident errors",
        "note": "False positives with the highest probability and false negatives with the lowest, of each label, from "
        "different patients first.",
        "table": None,
        "cards": by_label,
    }


def _isolated(found: Mapping[str, Any], test: Sample, images: Path | None) -> dict[str, Any]:
    rows, by_label = [], {}
    for label, kinds in found["labels"].items():
        counted = (f"{kinds[kind]['isolated']:,} of {kinds[kind]['positives']:,}" for kind in ("labelled", "called"))
        rows.append([label, *counted])
        by_label[label] = [
            _card(f"{kind} positive alone", each, label, test, images)
            for kind in ("labelled", "called")
            for each in kinds[kind]["examples"]
        ]
    judged = f"{found['judged']:,} slices whose both neighbours are in the test data are judged."
    return {
        "title": "Positives between negatives",
        "note": "A haemorrhage seldom fills one slice only: a slice that is positive while those before and after it "
        f"are negative may be wrong, in its label or in what the model calls it. {judged}",
        "table": {"head": ["Label", "Labelled so", "Called so"], "rows": rows},
        "cards": by_label,
    }


def _label_errors(found: Mapping[str, Any], test: Sample, images: Path | None, phantom: bool) -> dict[str, Any]:
    nouns, rows, by_label = NOUNS[test.level], [], {}
    for label, each in found.items():
        missed, invented = each["estimated"]["negative"], each["estimated"]["positive"]
        numbers = ["–", "–"] if missed is None or invented is None else [f"{missed:,.1f}", f"{invented:,.1f}"]
        rows.append(
            [
                label,
                f"{each['candidates']:,}",
                *numbers,
                each["reason"].replace("slices", nouns).replace("slice", test.level),
            ]
        )
        by_label[label] = [
            _card(f"labelled {'positive' if one['labelled'] else 'negative'}", one, label, test, images)
            for one in each["listed"]
        ]
    head = ["Label", "Candidates", "Estimated: positive, labelled negative", "Estimated: negative, labelled positive"]
    if any(row[-1] for row in rows):
        head.append("Why none")
    notes = [
        f"{nouns.capitalize()} that the model is as sure about as of {nouns} labelled the other way (confident "
        "learning). Candidates to look at, not corrections: the model may be the one that is wrong, and no figure on "
        "this page leaves them out.",
        *(["Phantoms' labels are right: everything here is the model's error."] if phantom else []),
        *([_BY_STUDY] if test.level == "study" else []),
    ]
    return {
        "title": "Likely label errors",
        "note": " ".join(notes),
        "table": {"head": head, "rows": [row[: len(head)] for row in rows]},
        "cards": by_label,
    }


_BY_STUDY = "The highest probability of a study's slices is not calibrated, so that candidates are less certain here."


def _card(title: str, each: Mapping[str, Any], label: str, test: Sample, images: Path | None) -> dict[str, Any]:
    row, image_id = each["row"], each["image_id"]
    true = [name for name, is_so in zip(LABELS, test.truth[row], strict=True) if is_so]
    true = [name for name in true if name != "any" or len(true) == 1]
    probability = test.probabilities[row, LABELS.index(label)]
    return {
        "title": title,
        "image_id": image_id,
        "strip": _strip(read_png(images / f"{image_id}.png")) if images else None,
        "text": f"P({label}) = {probability:.3f}; labelled {', '.join(true) or 'negative'}",
    }


def _strip(image: NDArray[np.uint8]) -> str:
    """The three windows side by side, in grey, as a WebP data URI."""
    small = shrink(image, STRIP_SIDE)
    strip = np.concatenate([small[:, :, channel] for channel in range(3)], axis=1)
    encoded = cv2.imencode(".webp", strip, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1]
    return data_uri(encoded.tobytes(), "image/webp")
