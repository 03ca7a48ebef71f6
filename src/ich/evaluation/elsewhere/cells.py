"""A CSV file's cells as text, numbered by row, for tables that people made with other programs."""

from pathlib import Path

import polars as pl

from ich.errors import DataError, one_line, visible

ROW = "row"  # 1 is the first after the header


def read_cells(path: Path, what: str) -> pl.DataFrame:
    """Read a CSV file: `row`, and each column as text without blanks around it.

    A byte order mark and rows without anything in them are passed over; a column of the name `row` becomes `row_`.

    Args:
        path: the file.
        what: names it in messages: `predictions`.

    Raises:
        DataError: no file, no CSV in UTF-8, or no rows.
    """
    if path.is_dir():
        raise DataError(f"{what} {path}: it is a folder; name the file in it")
    if not path.is_file():
        raise DataError(f"{what} {path}: it does not exist; name the file")
    try:
        rows = pl.read_csv(path, infer_schema=False, glob=False).with_columns(pl.all().str.strip_chars())
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{what} {path}: it is empty; it needs a header and rows") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"{what} {path}: it cannot be read as CSV in UTF-8 ({one_line(error)}); save it again as such"
        ) from error
    numbered = number_rows(rows)
    numbered = numbered.filter(pl.any_horizontal(pl.exclude(ROW).fill_null("") != ""))
    if numbered.is_empty():
        raise DataError(f"{what} {path}: it has a header but no rows; it needs both")
    return numbered


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
