"""What page and terminal say of thresholds: their value, where they are from, and what follows from both."""

import re
from collections.abc import Mapping
from typing import Any

from ich.labels import LABELS
from ich.level_names import NOUNS


def origin(source: str) -> str:
    """Where a threshold is from, short: `validation (Youden)` as `Youden, validation`, a fixed 0.5 as `fixed: ...`."""
    if fixed := re.fullmatch(r"(.*)a fixed [\d.]+, as (?:there are )?(.+)", source):
        return f"{fixed[1]}fixed: {fixed[2]}"
    if chosen := re.fullmatch(r"(.*)validation \((.+)\)", source):
        return f"{chosen[1]}{chosen[2]}, validation"
    return source


def at_threshold(threshold: Mapping[str, Any]) -> str:
    """`at 0.966 (Youden, validation)`.

    Args:
        threshold: its `value` and `source`.
    """
    return f"at {threshold['value']:.3g} ({origin(threshold['source'])})"


def thresholds_told(thresholds: Mapping[str, Mapping[str, Any]]) -> str:
    """One sentence on the thresholds of the six labels at one level."""
    values, by_source = {each["value"] for each in thresholds.values()}, _by_source(thresholds)
    if len(by_source) > 1:
        parts = (f"{', '.join(labels)} from {source}" for source, labels in by_source.items())
        return f"Thresholds: {'; '.join(parts)}."
    source = next(iter(by_source))
    if len(values) > 1:
        return f"All six thresholds come from {source}."
    value = f"{next(iter(values)):.3g}"
    if fixed := re.fullmatch(r"a fixed [\d.]+, (as .+)", source):
        return f"All six thresholds are fixed at {value}, {fixed[1]}."
    return f"All six thresholds are {value}, from {source}."


def _by_source(thresholds: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for label, each in thresholds.items():
        found.setdefault(each["source"], []).append(label)
    return found


def levels_differ(content: Mapping[str, Any]) -> bool:
    """Whether levels have thresholds of their own."""
    by_level = [[content["thresholds"][level][label]["value"] for label in LABELS] for level in content["levels"]]
    return any(each != by_level[0] for each in by_level)


def labels_differ(content: Mapping[str, Any]) -> bool:
    """Whether labels have thresholds of their own, at the first level."""
    return len({each["value"] for each in content["thresholds"][content["levels"][0]].values()}) > 1


def by_youden(content: Mapping[str, Any]) -> bool:
    """Whether Youden's index chose a threshold of the main tables: not where it is asked for and nothing chose."""
    thresholds = content["thresholds"][content["levels"][0]].values()
    return content["rule"] == "youden" and any("Youden" in each["source"] for each in thresholds)


def contradictions(content: Mapping[str, Any]) -> str:
    """How many are called for a subtype but not for `any`, and why that can be; empty if none is.

    It follows on a sentence that tells of the incoherent probabilities, if there are any.
    """
    level = content["levels"][0]
    test = content["splits"]["test"]["levels"][level]
    called = test["subtype_called_without_any"]
    if not called:
        return ""
    many = f"{called:,} of {test['n']:,} test {NOUNS[level]} are called positive for a subtype but not for any."
    if not labels_differ(content):
        return f"Therefore {many}"
    if content["incoherent"]:
        return f"Therefore, and as each label has its own threshold, {many}"
    own = "Each label has its own threshold, so that decisions may contradict each other though probabilities do not"
    return f"{own}: {many}"


def chosen_on(content: Mapping[str, Any], plateau: bool) -> list[dict[str, Any]]:
    """What was chosen on which data, a row each: `what`, `data`, `slices` and `patients` (None where not known).

    Args:
        content: what metrics.json holds.
        plateau: whether the learning rate followed the validation loss.
    """
    val = content["splits"].get("val", {"levels": {}})["levels"].get("slice", {"n": None, "patients": None})
    rows, training = [], "validation" if content["trained_here"] else "validation of each model's training"
    of_training = (val["n"], val["patients"]) if content["trained_here"] else (None, None)
    if content["models"]:
        what = "Early stopping and learning rate" if plateau and content["trained_here"] else "Early stopping"
        rows.append((what, training, *of_training))
    for gate in (model["gate"] for model in content["models"] if model["gate"]):
        of_val = "validation" in gate["chosen"]
        rows.append(
            ("Gate's threshold", training if of_val else gate["chosen"], *(of_training if of_val else (None, None)))
        )
    if content["calibration"]:
        fitted = content["calibration"]["fitted_on"]
        rows.append(("Calibration", "validation", fitted["slices"], fitted["patients"]))
    sources = dict.fromkeys(each["source"] for each in content["thresholds"][content["levels"][0]].values())
    of_val = any(source.startswith("validation") for source in sources)
    rows.append(
        ("Thresholds", "; ".join(map(origin, sources)), *((val["n"], val["patients"]) if of_val else (None, None)))
    )
    return [dict(zip(("what", "data", "slices", "patients"), row, strict=True)) for row in dict.fromkeys(rows)]
