"""Predictions from elsewhere, read: tables of other people's models, whose numbers are taken as they are or refused."""

from pathlib import Path

import polars as pl
import polars.selectors as cs

from ich.errors import DataError, cause, one_line, visible
from ich.evaluation.elsewhere.cells import ROW, by_name, number_rows, read_cells, refuse_unreadable, without_blanks
from ich.labels import IMAGE_ID, LABELS, Label

KEPT = ("patient", "study", "series", "split", "file")
_REPORTED = "calibrated_"  # of our own tables, which hold the raw ones too
_PREFIXES = ("", "probability_", "prob_", "pred_")  # of a label's column
_IMAGE = ("imageid", "id", "sopinstanceuid", "image", "file", "filename", "path")  # without case and underscores
_STUDY = ("study", "name", "patient")
_PATHS = _IMAGE[4:]
_SHORTEST = 1e-6  # how far beyond [0, 1] a number is no more than badly rounded


def read_predictions(path: Path) -> pl.DataFrame:
    """Read a table of probabilities: CSV, or Parquet, which the first bytes tell.

    Three forms are taken. Wide: a column that names the image (ImageID, image_id, id, SOPInstanceUID, or `file`, whose
    last part names it), and six columns of probabilities named as the labels, with `probability_`, `prob_` or `pred_`
    before it or not: tables of `ich predict` and predictions.parquet are such. Of the latter, the probabilities that
    are reported are taken: `calibrated_`, where all six are there, goes before all others. Long: the competition's
    `ID,Label` with a row an image and label. By study: `study`, `name` or `patient` instead of an image, and a row a
    study. Capitals, blanks around names and values, and a byte order mark do not matter.

    Args:
        path: the file.

    Returns:
        ImageID (`ID_<name>`, without .dcm or .png; null in a table by study), patient, study (of `study`, `name` or,
        in a table by study, `patient`), series, split, file (null where the table has none), and the six labels:
        Float64 in [0, 1], in the file's order.

    Raises:
        DataError: no file, no table, no rows, no column for an image or a label, an image twice, a long table that
            lacks a label of an image, or a value that is no number in [0, 1]. The message names the first such row (1
            is the first after the header) and says how many there are.
    """
    rows = _read_rows(path)
    names = by_name(rows, path, "predictions")
    if {"id", "label"} <= names.keys() and not any(f"{prefix}any" in names for prefix in _PREFIXES):
        table = _from_long(rows, names, path)
    else:
        table = _from_wide(rows, names, path)
    return table.drop(ROW)


def are_by_study(predictions: pl.DataFrame) -> bool:
    """Whether a table of `read_predictions` has a row a study, and no images."""
    return predictions[IMAGE_ID].null_count() == len(predictions)


def image_id(name: pl.Expr) -> pl.Expr:
    """`ID_<name>` of an image's name, with or without `ID_` before it, and .dcm or .png after it."""
    return "ID_" + name.str.strip_chars().str.replace(r"(?i)\.(dcm|dicom|png|jpe?g)$", "").str.strip_prefix("ID_")


def _read_rows(path: Path) -> pl.DataFrame:
    """The columns of text and of numbers, after `row`; a CSV's are all text."""
    refuse_unreadable(path, "predictions")
    if not _is_parquet(path):
        return read_cells(path, "predictions")
    try:
        rows = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise DataError(
            f"predictions {path}: it cannot be read as Parquet ({cause(error)}); save it again as CSV or Parquet"
        ) from error
    if rows.is_empty():
        raise DataError(f"predictions {path}: it has a header but no rows; it needs a row an image")
    words = cs.categorical() | cs.enum()
    taken = rows.select(cs.numeric() | cs.boolean() | cs.string() | words).with_columns(words.cast(pl.String))
    return number_rows(without_blanks(taken))


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _from_wide(rows: pl.DataFrame, names: dict[str, str], path: Path) -> pl.DataFrame:
    plain = {name.replace("_", ""): column for name, column in names.items()}
    by = next((name for name in (*_IMAGE, *_STUDY) if name in plain), None)
    if by is None:
        raise DataError(
            f"predictions {path} has no column that names the image (ImageID, id, SOPInstanceUID or file) or the study "
            f"(it has {one_line(', '.join(names))}); add one"
        )
    columns = _label_columns(names, path)
    named = pl.col(plain[by]).cast(pl.String)
    _refuse(rows.filter(named.is_null()), path, plain[by], "is empty", "name each row")
    _refuse_twice(rows, named, plain[by], list(columns.values()), path)
    image = named.str.split("/").list.last().str.split("\\").list.last() if by in _PATHS else named
    kept = {name: pl.col(plain[name]).cast(pl.String) if name in plain else pl.lit(None, pl.String) for name in KEPT}
    study = next((pl.col(plain[name]).cast(pl.String) for name in _STUDY[:2] if name in plain), kept["study"])
    by_study = by in _STUDY
    identity = {
        IMAGE_ID: pl.lit(None, pl.String) if by_study else image_id(image),
        **kept,
        "study": named if by_study else study,
        "file": named if by in _PATHS else kept["file"],
    }
    table = rows.select(ROW, **identity, **{label: pl.col(column) for label, column in columns.items()})
    table = _with_numbers(table, {label: columns[label] for label in LABELS}, path)
    if by not in _PATHS and not by_study:  # ID_a and a.dcm; files of one name may be of several studies
        _refuse_twice(table, pl.col(IMAGE_ID), IMAGE_ID, list(LABELS), path)
    return table


def _label_columns(names: dict[str, str], path: Path) -> dict[Label, str]:
    """Column of each label."""
    if all(_REPORTED + label in names for label in LABELS):
        return {label: names[_REPORTED + label] for label in LABELS}
    columns: dict[Label, str] = {}
    for label in LABELS:
        found = [names[prefix + label] for prefix in _PREFIXES if prefix + label in names]
        if len(found) > 1:
            raise DataError(f"predictions {path} has {' and '.join(found)} for one label; keep the probabilities")
        if found:
            columns[label] = found[0]
    lacking = [label for label in LABELS if label not in columns]
    if lacking == ["any"]:
        raise DataError(
            f"predictions {path} lacks a column for any: the five subtypes do not tell it (it lies between the largest "
            "and their sum); add the model's own, or the largest of the five if it has none"
        )
    if lacking:
        raise DataError(
            f"predictions {path} lacks a column for {', '.join(lacking)} (it has {one_line(', '.join(names))}); it "
            "needs one for each of the six labels, named as the label or probability_<label>"
        )
    return columns


def _from_long(rows: pl.DataFrame, names: dict[str, str], path: Path) -> pl.DataFrame:
    """A row an image, in the order in which images first come."""
    column, value = names["id"], names["label"]
    named = pl.col(column).cast(pl.String)
    number = {label: position for position, label in enumerate(LABELS)}
    ends = {label: named.str.ends_with(f"_{label}") for label in LABELS}  # quicker than to capture (`ich.labels`)
    cut = named.str.head(pl.coalesce(pl.when(end).then(-len(f"_{label}")) for label, end in ends.items()))
    which = pl.coalesce(pl.when(end).then(pl.lit(number[label])) for label, end in ends.items())
    parts = rows.select(ROW, column, value, which.alias("which"), image_id(cut).alias(IMAGE_ID))
    bad = parts.filter(pl.col("which").is_null() | pl.col(IMAGE_ID).is_null() | (pl.col(IMAGE_ID) == "ID_"))
    _refuse(bad, path, column, "must look like <image>_<label>", f"label one of {', '.join(LABELS)}")
    _refuse_twice(parts, pl.struct(IMAGE_ID, "which"), column, [value], path)
    parts = _with_numbers(parts, {value: value}, path)
    images = parts.group_by(IMAGE_ID, maintain_order=True).agg(pl.col(ROW).first(), pl.len())
    lacking = images.filter(pl.col("len") < len(LABELS))
    if not lacking.is_empty():
        first = lacking[IMAGE_ID][0]
        there = set(parts.filter(pl.col(IMAGE_ID) == first)["which"])
        labels = ", ".join(label for label in LABELS if number[label] not in there)
        raise DataError(
            f"predictions {path}, row {lacking[ROW][0]}: {first} has no row for {labels} ({len(lacking)} such "
            "images); every image needs all six labels"
        )
    ordered = parts.join(images.with_row_index("image").select(IMAGE_ID, "image"), on=IMAGE_ID)
    values = ordered.sort("image", "which")[value].to_numpy().reshape(-1, len(LABELS))
    return images.select(
        ROW, IMAGE_ID, *(pl.lit(None, pl.String).alias(name) for name in KEPT),
        *(pl.Series(label, values[:, position]) for position, label in enumerate(LABELS)),
    )  # fmt: skip


def _with_numbers(table: pl.DataFrame, columns: dict[str, str], path: Path) -> pl.DataFrame:
    """The columns as Float64; what is no number in [0, 1] is refused. `columns`: name here -> name in the file."""
    numbers = table.with_columns(pl.col(list(columns)).cast(pl.Float64, strict=False))
    bad = {name: pl.col(name).is_null() | pl.col(name).is_nan() for name in columns}
    out = {name: ~pl.col(name).is_between(0, 1) for name in columns}
    wrong = numbers.select(
        **{f"bad {name}": bad[name] for name in columns}, **{f"out {name}": out[name] for name in columns}
    ).sum()
    for name, column in columns.items():
        if wrong[f"bad {name}"][0]:
            shown = table.filter(numbers.select(bad[name]).to_series()).select(ROW, pl.col(name).alias(column))
            _refuse(shown, path, column, "must be a number in [0, 1]", "fill it in or leave the image out")
    every = numbers.select(list(columns)).to_numpy()
    for name, column in columns.items():
        if wrong[f"out {name}"][0]:
            shown = table.filter(numbers.select(out[name]).to_series()).select(ROW, pl.col(name).alias(column))
            low, high = float(every.min()), float(every.max())
            few = 2 * ((every < 0) | (every > 1)).any(axis=1).sum() < len(every)
            rule = f"must lie in [0, 1] (all lie between {low:g} and {high:g})"
            _refuse(shown, path, column, rule, _hint(low, high, few))
    return numbers


def _hint(low: float, high: float, few: bool) -> str:
    if low >= -_SHORTEST and high <= 1 + _SHORTEST:
        return "clip them to [0, 1]: they are only rounded"
    if few:  # another scale would show in most rows
        return "correct it"
    if low >= 0 and high <= 100:
        return "divide by 100 if they are percent"
    return "if they are logits, 1 / (1 + exp(-x)) makes probabilities of them"


def _refuse_twice(rows: pl.DataFrame, key: pl.Expr, column: str, values: list[str], path: Path) -> None:
    """Refuse rows of one image (or study), whether they agree or not: both cannot be meant to count."""
    if rows.select(key.n_unique()).item() == len(rows):
        return
    again = rows.with_columns(key=key).filter(pl.col("key").is_duplicated())
    later = again.filter(~pl.col("key").is_first_distinct())
    same = again.filter(pl.col("key") == pl.lit(later["key"][0], again.schema["key"]))
    agree = "the same" if same.unique(values).height == 1 else "other"
    name = "of a patient who" if column.strip().lower() == "patient" else f"{column} {visible(str(later[column][0]))}"
    raise DataError(
        f"predictions {path}, row {later[ROW][0]}: {name} stands in row "
        f"{same[ROW][0]} too, with {agree} values ({len(later)} such rows); keep one row of each"
    )


def _refuse(bad: pl.DataFrame, path: Path, column: str, rule: str, fix: str) -> None:
    if not bad.is_empty():
        first = bad.row(0, named=True)
        value = visible(repr(first[column]))[:80]
        raise DataError(
            f"predictions {path}, row {first[ROW]}: {column} {rule}, got {value} ({len(bad)} such rows); {fix}"
        )
