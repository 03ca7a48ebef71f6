"""A CSV file's cells as text, numbered by row, for tables that people made with other programs."""

from pathlib import Path

import polars as pl
import polars.selectors as cs

from ich.errors import DataError, cause, one_line, printable, visible

ROW = "row"  # 1 is the first after the header
_LONGEST_HEADER = 100_000  # bytes


def read_cells(path: Path, what: str) -> pl.DataFrame:
    """Read a CSV file: `row`, and each column as text without blanks around it.

    A byte order mark and rows without anything in them are passed over; a cell without anything is null; a column of
    the name `row` becomes `row_`.

    Args:
        path: the file.
        what: names it in messages: `predictions`.

    Raises:
        DataError: no file, no CSV in UTF-8 with commas, or no rows.
    """
    refuse_unreadable(path, what)
    try:
        rows = without_blanks(pl.read_csv(path, infer_schema=False, glob=False))
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{what} {path}: it is empty; it needs a header and rows") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{what} {path}: it cannot be read as CSV in UTF-8 ({cause(error)}); save it again as such"
        ) from error
    numbered = number_rows(rows)
    numbered = numbered.filter(pl.any_horizontal(pl.exclude(ROW).is_not_null()))
    if numbered.is_empty():
        raise DataError(f"{what} {path}: it has a header but no rows; it needs both")
    return numbered


def refuse_unreadable(path: Path, what: str) -> None:
    """Check, before a library reads it, what it would not say in the user's words.

    Args:
        path: the file.
        what: names it in messages: `predictions`.

    Raises:
        DataError: a name that is not UTF-8 (polars opens none such), a folder, no file, one that cannot be opened,
            UTF-16, or a CSV whose columns are parted by semicolons.
    """
    shown = f"{what} {visible(printable(path))}"
    refuse_name(path, what)
    if path.is_dir():
        raise DataError(f"{shown}: it is a folder; name the file in it")
    if not path.is_file():
        raise DataError(f"{shown}: it does not exist; name the file")
    try:
        with path.open("rb") as file:
            header = file.readline(_LONGEST_HEADER)
    except OSError as error:
        raise DataError(f"{shown}: it cannot be read ({one_line(error.strerror or error)}); allow it") from error
    if header.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{shown} is UTF-16; save it as UTF-8")
    if b";" in header and b"," not in header and not header.startswith(b"PAR1"):
        raise DataError(f"{shown}: its columns are parted by ;: save it with commas")


def refuse_name(path: Path, what: str) -> None:
    """Refuse a name that is not UTF-8, which polars neither reads nor writes.

    Raises:
        DataError: it is such a name.
    """
    if printable(path) != str(path):
        raise DataError(f"{what} {visible(printable(path))}: its name is not UTF-8; rename it")


def without_blanks(rows: pl.DataFrame) -> pl.DataFrame:
    """Texts without blanks around them; null where nothing is left, so that a blank is never taken for a name."""
    return rows.with_columns(cs.string().str.strip_chars().replace("", None))


def number_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with `row` before their own columns."""
    return rows.rename({ROW: f"{ROW}_"} if ROW in rows.columns else {}).with_row_index(ROW, 1)


def by_name(rows: pl.DataFrame, path: Path, what: str) -> dict[str, str]:
    """Column of each name in small letters, without blanks around it.

    Raises:
        DataError: a name twice.
    """
    names: dict[str, str] = {}
    for column in rows.columns[1:]:
        name = column.removesuffix("_duplicated_0").strip().lower()  # polars' mark of a name that comes again
        if name in names:
            raise DataError(f"{what} {path}: it has the column {visible(name)} twice; keep one of them")
        names[name] = column
    return names
