"""The competition's file: `ID,Label`, a row an image and label, in the order of its sample submission."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ich.errors import ConfigError, DataError, printable, visible
from ich.evaluation.elsewhere.cells import ROW, read_cells, refuse_name
from ich.evaluation.elsewhere.matching import refuse_trained_on
from ich.evaluation.elsewhere.prediction_table import are_by_study, image_id, read_predictions
from ich.evaluation.statistics.metrics import CLIP
from ich.files import refuse_to_replace, write_csv
from ich.labels import IMAGE_ID, LABELS

_HEADER = "ID,Label"
_EXAMPLES = 3
_COMPRESSED = (".gz", ".zip", ".bz2", ".xz", ".zst")


class Submission(NamedTuple):
    """What was written.

    Attributes:
        output: the file.
        images, rows, bytes: how many.
        extra: predictions of images that the sample does not name; left out.
        clipped: probabilities that were moved into [clip, 1 - clip].
        incoherent: images with `any` below a subtype; written as they are, as the competition scores each row alone.
        seconds: from reading to the written file.
    """

    output: str
    images: int
    rows: int
    bytes: int
    extra: int
    clipped: int
    incoherent: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return self._asdict()

    def line(self) -> str:
        """For people."""
        told = {
            f"{self.extra:,} predictions are of other images": self.extra,
            f"{self.clipped:,} probabilities clipped": self.clipped,
            f"any below a subtype in {self.incoherent:,} images, written as they are": self.incoherent,
        }
        size = f"{self.rows:,} rows of {self.images:,} images, {self.bytes / 1e6:.1f} MB, {self.seconds:.1f} s"
        return "; ".join([f"{self.output}: {size}", *(text for text, count in told.items() if count)])


def submit(predictions: Path, sample: Path, output: Path, clip: float = CLIP) -> Submission:
    """Write the competition's file from a table of predictions.

    Args:
        predictions: a file of `ich.evaluation.elsewhere.prediction_table.read_predictions`, by image.
        sample: the competition's sample submission: `ID,Label`, ID `<image>_<label>`, six rows an image.
        output: CSV with the sample's rows in its order.
        clip: probabilities are moved into [clip, 1 - clip], 1e-15 <= clip < 0.5. The default, 1e-15, is what the
            competition itself clipped at, so that the file scores what the predictions do. A larger one changes the
            score: it bounds the loss of what is certain and wrong, and costs a little everywhere else. For much
            smaller ones 1 - clip would be 1.

    Raises:
        ConfigError: `clip` is out of range, or `output` is named as a compressed file.
        DataError: one of the files cannot be used, an image of the sample has no prediction, or one of split train, or
            `output` is there and is no earlier submission.
    """
    if not CLIP <= clip < 0.5:
        raise ConfigError(
            f"--clip must be at least {CLIP:g}, which is the competition's own, and less than 0.5, got {clip:g}"
        )
    if output.suffix.lower() in _COMPRESSED:
        raise ConfigError(
            f"--output {visible(printable(output))}: a plain CSV file is written, which the competition takes; leave "
            f"{output.suffix} out"
        )
    refuse_name(output, "--output")
    started = time.perf_counter()
    rows = _read_sample(sample)
    table = read_predictions(predictions)
    inputs = predictions, sample
    refuse_to_replace(output, lambda path: not any(map(path.samefile, inputs)) and _is_submission(path, rows["ID"][0]))
    place = _places(rows, table, predictions)
    scored = np.unique(place)
    refuse_trained_on(table[scored])
    values = table.select(LABELS).to_numpy()
    chosen = values[place, rows["label"].to_numpy()]
    clipped = np.clip(chosen, clip, 1 - clip)
    write_csv(output.resolve(), rows.select("ID", Label=pl.Series(clipped)))
    used = values[scored]
    return Submission(
        str(output), len(used), len(rows), output.stat().st_size, len(table) - len(used),
        int((chosen != clipped).sum()), int((used[:, :1] < used[:, 1:]).any(axis=1).sum()),
        time.perf_counter() - started,
    )  # fmt: skip


def _read_sample(path: Path) -> pl.DataFrame:
    """ID as it stands, ImageID and label (its place in LABELS), a row each."""
    found = read_cells(path, "sample submission")
    if found.columns[1:3] != ["ID", "Label"]:
        raise DataError(
            f"{path} is not a sample submission: it needs the columns ID,Label and a row an image and label"
        )
    ends = {label: pl.col("ID").str.ends_with(f"_{label}") for label in LABELS}
    rows = found.select(
        ROW,
        "ID",
        label=pl.coalesce(pl.when(end).then(pl.lit(place)) for place, end in enumerate(ends.values())),
        name=pl.col("ID").str.head(pl.coalesce(pl.when(end).then(-len(label) - 1) for label, end in ends.items())),
    ).with_columns(image_id(pl.col("name")).alias(IMAGE_ID))
    bad = rows.filter(pl.col("label").is_null() | pl.col("ID").is_null())
    if not bad.is_empty():
        raise DataError(
            f"{path} is not a sample submission: row {bad[ROW][0]} has the ID {visible(repr(bad['ID'][0]))[:80]}, "
            f"not <image>_<label> ({len(bad)} such rows)"
        )
    images = rows.group_by(IMAGE_ID, maintain_order=True).agg(pl.len(), pl.col("label").n_unique().alias("labels"))
    odd = images.filter((pl.col("len") != len(LABELS)) | (pl.col("labels") != len(LABELS)))
    if not odd.is_empty():
        raise DataError(
            f"{path} is not a sample submission: {visible(odd[IMAGE_ID][0])} has not each of the six labels once "
            f"({len(odd)} such images)"
        )
    return rows.select("ID", IMAGE_ID, "label")


def _places(rows: pl.DataFrame, table: pl.DataFrame, path: Path) -> NDArray[np.intp]:
    """Row of the predictions for each row of the sample."""
    if are_by_study(table):
        raise DataError(f"predictions {path} are by study; the competition wants them by image")
    if not table[IMAGE_ID].is_unique().all():
        twice = table.filter(pl.col(IMAGE_ID).is_duplicated())[IMAGE_ID]
        raise DataError(f"predictions {path} have {visible(twice[0])} in two files; keep one of them")
    place = rows.join(table.select(IMAGE_ID).with_row_index("place"), on=IMAGE_ID, how="left", maintain_order="left")
    lost = place.filter(pl.col("place").is_null())[IMAGE_ID].unique(maintain_order=True)
    if not lost.is_empty():
        first = ", ".join(visible(name) for name in lost[:_EXAMPLES])
        raise DataError(
            f"{len(lost):,} of {len(rows) // len(LABELS):,} images of the sample submission have no prediction in "
            f"{path}, e.g. {first} (its first is {visible(table[IMAGE_ID][0])}); predict them too: the competition "
            "refuses an incomplete file"
        )
    return place["place"].to_numpy().astype(np.intp)


def _is_submission(path: Path, first: str) -> bool:
    """Whether a file begins as one that was written here for the same sample; labels, 0 or 1, are no probabilities."""
    with path.open(encoding="utf-8", errors="replace") as file:
        if file.readline(100).rstrip("\n") != _HEADER:
            return False
        name, _, value = file.readline(1000).rstrip("\n").rpartition(",")
    return name == first and value not in ("", "0", "1", "0.0", "1.0")
