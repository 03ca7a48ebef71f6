"""What can be counted: slices, the series and patients that they make up, or studies that were labelled as a whole."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Level = Literal["slice", "series", "patient", "study"]
NOUNS: Mapping[Level, str] = MappingProxyType(
    {"slice": "slices", "series": "series", "patient": "patients", "study": "studies"}
)
