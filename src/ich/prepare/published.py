"""A split that someone else made: read, checked, and applied to the patients or slices that are here."""

import json
from pathlib import Path
from typing import Any, Literal

import polars as pl

from ich.errors import DataError, one_line
from ich.files import read_whole
from ich.prepare.splits_file import assignment_sha256, is_a_split


def read_published(path: Path, unit: Literal["patient", "slice"]) -> dict[str, Any]:
    """The content of a published splits.json; `unit` and `assignment` must be there, the rest may.

    Raises:
        DataError: no file, no split in it, one of another unit, or one that was changed after its `assignment_sha256`.
    """
    try:
        content = json.loads(read_whole(path))
        json.dumps(content, ensure_ascii=False).encode()  # JSON can escape what is no text
    except OSError as error:
        raise DataError(
            f"published split {path} cannot be read ({error.strerror}); set split.published to a splits.json"
        ) from error
    except (ValueError, RecursionError) as error:  # no JSON, or no UTF-8
        raise DataError(f"published split {path} is not valid JSON ({one_line(error)}); get the file again") from error
    if not is_a_split(content):
        raise DataError(
            f"published split {path} must hold unit (patient or slice) and assignment (each unit: train, val or test); "
            "it does not: set split.published to another file"
        )
    if content["unit"] != unit:
        raise DataError(
            f"published split {path} is by {content['unit']}, but split.unit is {unit}: set it to "
            f"{content['unit']}, or take a split by {unit}"
        )
    told, found = content.get("assignment_sha256"), assignment_sha256(content["assignment"])
    if told not in (None, found):
        raise DataError(
            f"published split {path} says assignment_sha256 {one_line(str(told))[:12]}, but its assignment gives "
            f"{found[:12]}: it was changed; get the file again"
        )
    return content


def apply_published(content: dict[str, Any], units: pl.Series, path: Path) -> pl.DataFrame:
    """The published split of every unit that is here.

    Args:
        content: of `read_published`.
        units: patients or ImageIDs, may repeat.
        path: for messages.

    Returns:
        `unit`, `split` and `fold` (null where the file has none), a row a unit, sorted.

    Raises:
        DataError: a unit is not in the file.
    """
    here = units.unique().sort()
    lacking = here.filter(~here.is_in(list(content["assignment"])))
    if len(lacking):
        raise DataError(
            f"published split {path} lacks {len(lacking)} of the {len(here)} {content['unit']}s here; it must hold "
            "all: take a split of these data, or leave split.published out"
        )
    folds = _folds(content)
    return pl.DataFrame(
        [(unit, content["assignment"][unit], folds.get(unit)) for unit in here],
        schema={"unit": pl.String, "split": pl.String, "fold": pl.Int64},
        orient="row",
    )


def _folds(content: dict[str, Any]) -> dict[str, int]:
    """The fold of each unit, where the file tells it."""
    folds = content.get("fold_of")
    if not isinstance(folds, dict):
        return {}
    return {unit: fold for unit, fold in folds.items() if type(fold) is int and abs(fold) < 2**31}
