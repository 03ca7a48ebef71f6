"""Words of the report: what is counted (slices, series, patients, studies), and what thresholds aim at."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Level = Literal["slice", "series", "patient", "study"]
NOUNS: Mapping[Level, str] = MappingProxyType(
    {"slice": "slices", "series": "series", "patient": "patients", "study": "studies"}
)

AIMS: Mapping[str, str] = MappingProxyType(
    {
        "youden": "Youden's index", "sensitivity": "sensitivity ≥ 95 %", "specificity": "specificity ≥ 95 %",
        "f1": "largest F1", "fixed": "fixed threshold",
    }
)  # fmt: skip


def noun(number: int, level: Level) -> str:
    """`slice` of 1, `slices` of any other number."""
    return level if number == 1 else NOUNS[level]
