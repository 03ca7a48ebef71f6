"""The six labels in their one order, and the label tables: the competition's long CSV and our wide one."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ich.errors import DataError, cause, one_line

if TYPE_CHECKING:
    import polars as pl

Label = Literal["any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"]
LABELS: tuple[Label, ...] = get_args(Label)
SUBTYPES: tuple[Label, ...] = LABELS[1:]
IMAGE_ID = "ImageID"
COMPETITION = (2, 1, 1, 1, 1, 1)  # weights of the labels in the competition's log loss, which divides by their sum

_LONG_ID = rf"^ID_[0-9A-Za-z_.-]+_({'|'.join(LABELS)})$"
_ZERO = {label: 4**position for position, label in enumerate(LABELS)}  # bits of "this label is 0"
_ONE = 2  # times that: bits of "this label is 1"
_LONGEST_ID = 200  # characters; a file name has 255, and some more are added to the ID
_WIDE_ID = r"^ID_[0-9A-Za-z_.-]+$"
_REMEDY = "delete the file and run the step that writes it again"
AUGMENTED = re.compile(r"_aug_\d+$")


def original_id(image_id: str) -> str:
    """The slice that an augmented image was made from; other ids come back as they are."""
    return AUGMENTED.sub("", image_id)


def is_augmented(image_id: str) -> bool:
    """Whether the id names an image made by step 5."""
    return AUGMENTED.search(image_id) is not None


def read_long_labels(path: Path) -> tuple["pl.DataFrame", int]:
    """Read the competition's label CSV and pivot it.

    What spreadsheets and scripts leave is taken as well: a byte order mark, blanks around names and values, names of
    columns in other case, 0.0 and 1.0, empty lines at the end.

    Args:
        path: CSV with columns ID (`ID_<hex>_<label>`) and Label (0 or 1).

    Returns:
        A table with ImageID and the six label columns (UInt8), a row an image, sorted by ImageID; and the number of
        duplicated rows that were dropped (the published file has 24).

    Raises:
        DataError: no file, no rows, a missing column, a malformed ID, a label other than 0 and 1, an image without all
            six labels, or one with conflicting labels. The message names the row (1 is the first after the header).
    """
    rows = _read_rows(path)
    wide = _pivot(_parse(rows, path), path)
    return wide, len(rows) - len(LABELS) * len(wide)


def _read_rows(path: Path) -> "pl.DataFrame":
    """ID and Label as text, stripped of blanks, without empty rows at the end."""
    import polars as pl

    if not path.is_file():
        if path.is_dir():
            raise DataError(f"label file {path} is a folder; set data.labels to the CSV file")
        raise DataError(f"label file {path} does not exist; set data.labels to the competition's label CSV")
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"label file {path} is UTF-16; save it as UTF-8")
    try:
        rows = pl.read_csv(path, infer_schema=False, glob=False)
    except pl.exceptions.NoDataError as error:
        raise DataError(
            f"label file {path} is empty; it needs the columns ID,Label and a row per image and label"
        ) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        if path.suffix.lower() == ".zip":
            raise DataError(f"label file {path} is a zip file; name the CSV file in it: {path}/NAME.csv") from error
        raise DataError(f"label file {path} is not a CSV file with ID,Label in each row: {cause(error)}") from error
    columns = (pl.col(_column(rows, name, path)).str.strip_chars().alias(name) for name in ("ID", "Label"))
    rows = rows.select(columns)
    while len(rows) and not any(rows.row(-1)):
        rows = rows.head(-1)
    if rows.is_empty():
        raise DataError(f"label file {path} has a header but no rows")
    return rows


def _column(rows: "pl.DataFrame", name: str, path: Path) -> str:
    """The file's own name of a column, which may have blanks around it and other capitals."""
    own = {column: column.partition("_duplicated_")[0].strip() for column in rows.columns}  # polars' mark of a second
    found = [column for column, plain in own.items() if plain.lower() == name.lower()]
    if not found:
        there = one_line(", ".join(own.values()))
        if rows.width == 1 and ";" in there:
            raise DataError(f"label file {path}: its columns are parted by ;: save it with commas")
        raise DataError(f"label file {path} has no column {name} (it has {there}); it needs ID,Label")
    if len(found) > 1:
        raise DataError(f"label file {path} has the column {name} twice; keep one of them")
    return found[0]


def _parse(rows: "pl.DataFrame", path: Path) -> "pl.DataFrame":
    """Check each row by itself: ImageID and finding (a bit: this label is 0, or is 1), beside row, ID and Label."""
    import polars as pl

    # Cut off by its length, with the whole ID matched below: a regular expression that captures both parts takes longer
    # than all of this together, and cutting off each label's own text builds six columns (LAB_BOOK.md, 2026-11-25).
    ends = {label: pl.col("ID").str.ends_with(f"_{label}") for label in LABELS}
    image = pl.col("ID").str.head(pl.coalesce(pl.when(end).then(-len(f"_{label}")) for label, end in ends.items()))
    zero = pl.coalesce(pl.when(end).then(pl.lit(_ZERO[label], pl.UInt16)) for label, end in ends.items())
    factor = pl.col("Label").replace_strict(
        {"0": 1, "1": _ONE, "0.0": 1, "1.0": _ONE}, default=None, return_dtype=pl.UInt16
    )
    parts = rows.with_row_index("row", 1).with_columns(image.alias(IMAGE_ID)).with_columns(finding=zero * factor)
    _refuse(
        parts.filter(~pl.col("ID").str.contains(_LONG_ID).fill_null(False)),
        path,
        "ID",
        "must look like ID_<name>_<label>, label one of " + ", ".join(LABELS),
    )
    _refuse(
        parts.filter(pl.col(IMAGE_ID).str.len_bytes() > _LONGEST_ID),
        path,
        "ID",
        f"must have at most {_LONGEST_ID} characters before _<label>, as file names are made of it",
    )
    _refuse(parts.filter(pl.col("finding").is_null()), path, "Label", "must be 0 or 1")
    _refuse(
        parts.filter(pl.col(IMAGE_ID).str.contains(AUGMENTED.pattern)),
        path,
        "ID",
        "must not end in _aug_<number>, as augmented images do; rename it",
    )
    return parts


def _pivot(parts: "pl.DataFrame", path: Path) -> "pl.DataFrame":
    """One row an image; refuse an image with a label twice and not alike, or without one, or with a wrong `any`."""
    import polars as pl

    # Repeated rows set a bit that is set already. The streaming engine groups in half the time of the default one.
    images = parts.lazy().group_by(IMAGE_ID).agg(pl.col("finding").bitwise_or()).collect(engine="streaming")
    no = {label: pl.col("finding") & bit != 0 for label, bit in _ZERO.items()}
    yes = {label: pl.col("finding") & bit * _ONE != 0 for label, bit in _ZERO.items()}
    _refuse_conflicts(images.filter(pl.any_horizontal(no[label] & yes[label] for label in LABELS)), parts, path)
    wide = images.select(
        IMAGE_ID, *(pl.when(no[label] | yes[label]).then(yes[label].cast(pl.UInt8)).alias(label) for label in LABELS)
    ).sort(IMAGE_ID)
    _refuse_incomplete(wide.filter(pl.any_horizontal(pl.col(LABELS).is_null())), parts, path)
    _refuse_contradiction(wide.filter(pl.col("any") != pl.max_horizontal(SUBTYPES)), parts, path)
    return wide


def _refuse_conflicts(images: "pl.DataFrame", parts: "pl.DataFrame", path: Path) -> None:
    """Refuse images that have a label as 0 and as 1; name the last row that contradicts an earlier one."""
    import polars as pl

    if images.is_empty():
        return
    rows = parts.join(images, on=IMAGE_ID, how="semi", maintain_order="left")
    rows = rows.unique(["ID", "finding"], keep="first", maintain_order=True)
    worst = rows.filter(pl.col("ID").is_duplicated()).row(-1, named=True)
    raise DataError(
        f"label file {path}, row {worst['row']}: {worst['ID']} is 0 in one row and 1 in another; keep the right one"
    )


def _refuse_incomplete(images: "pl.DataFrame", parts: "pl.DataFrame", path: Path) -> None:
    import polars as pl

    if images.is_empty():
        return
    image = images.row(0, named=True)
    lacking = ", ".join(label for label in LABELS if image[label] is None)
    row = parts.filter(pl.col(IMAGE_ID) == image[IMAGE_ID])["row"][0]
    raise DataError(
        f"label file {path}, row {row}: {image[IMAGE_ID]} has no row for {lacking} "
        f"({len(images)} such images); every image needs all six labels"
    )


def _refuse_contradiction(images: "pl.DataFrame", parts: "pl.DataFrame", path: Path) -> None:
    import polars as pl

    if images.is_empty():
        return
    image = images[IMAGE_ID][0]
    row = parts.filter(pl.col("ID") == f"{image}_any")["row"][0]
    raise DataError(
        f"label file {path}, row {row}: any of {image} must be 1 if a subtype is, else 0 "
        f"({len(images)} such images); correct it"
    )


def read_table(path: Path) -> "pl.DataFrame":
    """Read one of our wide tables: ImageID and the six labels (UInt8).

    Raises:
        DataError: the file is not there, cannot be read, or is not what a step of ours writes (`checked_table`).
    """
    import polars as pl

    if not path.is_file():
        raise DataError(f"{path} does not exist; run the step that writes it (`ich run` does all that are needed)")
    try:
        table = pl.read_csv(path, glob=False, schema_overrides={IMAGE_ID: pl.String} | dict.fromkeys(LABELS, pl.UInt8))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read ({cause(error)}); {_REMEDY}") from error
    return checked_table(table.drop("row", strict=False), path)


def checked_table(table: "pl.DataFrame", path: Path, remedy: str = _REMEDY) -> "pl.DataFrame":
    """ImageID and the six labels (UInt8) of a wide table that was read from `path`.

    Args:
        table: ImageID and the labels as text or numbers; `row`, where it is there, is named in messages.
        path: named in messages.
        remedy: what to do about a fault; the default is for files that a step of ours writes.

    Raises:
        DataError: a column is lacking, an ImageID stands twice or is malformed, a label is missing or other than 0 and
            1, or `any` is not the OR of the subtypes. The message names the first bad row (1 is the first after the
            header).
    """
    import polars as pl

    lacking = [column for column in (IMAGE_ID, *LABELS) if column not in table.columns]
    if lacking:
        raise DataError(f"{path} lacks the column {lacking[0]}; {remedy}")
    numbered = table if "row" in table.columns else table.with_row_index("row", 1)
    numbered = numbered.select("row", IMAGE_ID, pl.col(LABELS).cast(pl.UInt8, strict=False))
    _check(numbered, path, remedy)
    return numbered.drop("row")


def _check(numbered: "pl.DataFrame", path: Path, remedy: str) -> None:
    """Refuse a table that was damaged or edited, naming its first bad row."""
    import polars as pl

    bad = numbered.select(
        "row",
        ImageID=pl.col(IMAGE_ID).str.contains(_WIDE_ID).not_() | pl.col(IMAGE_ID).is_null(),
        twice=pl.col(IMAGE_ID).is_duplicated(),
        label=pl.any_horizontal(pl.col(LABELS).is_null(), pl.col(LABELS) > 1),
        any=pl.col("any") != pl.max_horizontal(SUBTYPES),
    )
    rules = {
        "ImageID": "an ImageID must look like ID_<name>",
        "twice": "an ImageID must stand in one row only",
        "label": "labels must be 0 or 1",
        "any": "any must be 1 if a subtype is, else 0",
    }
    for fault, rule in rules.items():
        rows = bad.filter(pl.col(fault))["row"]
        if len(rows):
            raise DataError(f"{path}, row {rows[0]}: {rule} ({len(rows)} such rows); {remedy}")


def counts(table: "pl.DataFrame", labels: Sequence[str] = LABELS) -> dict[str, int]:
    """Positives of each label."""
    return {label: int(table[label].sum()) for label in labels}


def _refuse(bad: "pl.DataFrame", path: Path, column: str, rule: str) -> None:
    if not bad.is_empty():
        first = bad.row(0, named=True)
        value = first[column]
        raise DataError(f"label file {path}, row {first['row']}: {column} {rule}, got {value!r} ({len(bad)} such rows)")
