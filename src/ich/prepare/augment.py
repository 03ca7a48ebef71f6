"""Step 5, augment: changed copies of minority-class training images, until each label has its target of positives."""

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
from keras import ops
from numpy.typing import NDArray

from ich.augmentation import compiled, draw, item_keys
from ich.chunks import run_in_chunks
from ich.config import Augment, Experiment
from ich.errors import DataError
from ich.files import file_sizes, fingerprint, write_bytes, write_csv
from ich.labels import IMAGE_ID, LABELS, counts, is_augmented, original_id, read_table
from ich.png import encode_png, read_png
from ich.prepare.ledger import refuse_lost
from ich.workspace import SPLITS, Outcome, Workspace

# The last batch is filled up to this, so that one compiled program makes every image, and reruns agree to the byte.
BATCH = 32
CHUNK = 8 * BATCH  # images: a second of work or two

_PART = pl.Schema({IMAGE_ID: pl.String, "png_size": pl.Int64})


def augment(config: Experiment) -> Outcome:
    """Bring the positives of each label of `augment.labels` up to `augment.target`; only the training set changes.

    Writes `<ImageID>_aug_<index>.png` (index from 0 for each original) beside the training images, then their rows,
    with all labels of the original, into the training table. It starts from the rows that are not augmented, so that
    it can be run again after a kill or a change of config: same config, same images, same bytes. Finished chunks
    are kept.

    Raises:
        DataError: `split` has not filled the training set, or an image is missing, damaged or of the wrong size.
    """
    workspace = Workspace(config)
    csv, folder = workspace.table("train"), workspace.images("train")
    table = read_table(csv)
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist; run the step that fills it (`ich run` does all that are needed)")
    natural = table.filter(~pl.Series([is_augmented(name) for name in table[IMAGE_ID]], dtype=pl.Boolean))
    copies = choose_copies(natural, config.augment, config.seed)
    names = copies[IMAGE_ID].to_list()
    if len(natural) < len(table):
        write_csv(csv, natural)  # no row may be without its image if this run is killed
    _remove_stale(folder, keep=set(names))
    _write_images(names, workspace)
    augmented = pl.concat([natural, copies]).sort(IMAGE_ID)
    refuse_lost("augment", folder, pl.select(pl.format("{}.png", copies[IMAGE_ID])).to_series())
    if names:
        write_csv(csv, augmented)
    return Outcome(
        counts={
            "training slices": len(natural),
            "augmented images written": len(names),
            "training rows": len(augmented),
            "positives before": counts(natural),
            "positives after": counts(augmented),
        },
        outputs=[
            *(workspace.table(split) for split in SPLITS),
            folder,
        ],  # the tables that training reads, as it finds them
        notes=[*_without_positives(natural, config.augment), *_prior_shift(natural, augmented)],
    )


def choose_copies(natural: pl.DataFrame, how: Augment, seed: int) -> pl.DataFrame:
    """Draw the originals of the copies, with replacement, label by label in the order of `how.labels`.

    Copies made for an earlier label count for a later one that they are positive for too; so no label gets more
    copies of its own than it still needs. Copies are never copied.

    Args:
        natural: ImageID and six labels of the training slices, sorted by ImageID.
        how: target and labels.
        seed: of the experiment.

    Returns:
        ImageID and six labels of the copies, in the order of the draw.
    """
    chosen = np.empty(0, np.intp)
    for label in how.labels:
        positive = natural[label].to_numpy() == 1
        missing = how.target - int(positive.sum()) - int(positive[chosen].sum())
        if missing > 0 and positive.any():
            generator = np.random.default_rng([seed, LABELS.index(label)])
            chosen = np.concatenate([chosen, generator.choice(np.flatnonzero(positive), missing)])
    index = pl.int_range(pl.len()).over(IMAGE_ID)
    return natural[chosen].with_columns(pl.format("{}_aug_{}", IMAGE_ID, index).alias(IMAGE_ID))


def _remove_stale(folder: Path, keep: set[str]) -> None:
    """Remove the images of earlier runs that this one does not make again, and what a killed run was writing."""
    for path in folder.iterdir():
        half_written = path.name.startswith(".") and "_aug_" in path.name
        if half_written or (is_augmented(path.stem) and path.stem not in keep):
            path.unlink()


def _write_images(names: list[str], workspace: Workspace) -> None:
    """Make the images in chunks; those of finished ones are kept, unless they, or what they are made of, changed."""
    config, folder = workspace.config, workspace.images("train")
    there = file_sizes(folder)
    run_in_chunks(
        "augment", _with_originals(names, folder), functools.partial(_augment_chunk, folder=folder, config=config),
        folder=workspace.parts / "augment", chunk=CHUNK, workers=1,  # XLA has threads of its own
        settings=f"{config.augment.transforms.model_dump_json()} {config.seed} {config.preprocess.size} {folder}",
        intact=lambda chunk, part: part.schema == _PART
        and part[IMAGE_ID].to_list() == [name for name, _ in chunk]
        and all(there.get(f"{name}.png") == size for name, size in part.iter_rows()),
    )  # fmt: skip


def _with_originals(names: list[str], folder: Path) -> list[tuple[str, str]]:
    """Each copy with the SHA-256 of its original; of one that is not there, which is complained of later, nothing."""

    def digest(original: str) -> str:
        path = folder / f"{original}.png"
        return fingerprint(path) if path.is_file() else ""

    originals = sorted({original_id(name) for name in names})
    with ThreadPoolExecutor() as pool:
        digests = dict(zip(originals, pool.map(digest, originals), strict=True))
    return [(name, digests[original_id(name)]) for name in names]


def _augment_chunk(copies: Sequence[tuple[str, str]], folder: Path, config: Experiment) -> pl.DataFrame:
    """Write the images of some copies and return their names and sizes."""
    transforms, names, sizes = config.augment.transforms, [name for name, _ in copies], list[int]()
    apply = compiled(transforms, rounded=True)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            filled = (batch + batch[-1:] * BATCH)[:BATCH]
            originals = [folder / f"{original_id(name)}.png" for name in filled]
            images = np.stack(list(pool.map(lambda path: read_png(path, config.preprocess.size), originals)))
            augmented = ops.convert_to_numpy(apply(images, draw(transforms, config.seed, 0, item_keys(filled))))
            sizes += pool.map(functools.partial(_write_image, folder), batch, augmented)
    return pl.DataFrame([names, sizes], schema=_PART)


def _write_image(folder: Path, name: str, image: NDArray[np.uint8]) -> int:
    """Write an image; return its size, bytes."""
    content = encode_png(image)
    write_bytes(folder / f"{name}.png", content)
    return len(content)


def _without_positives(natural: pl.DataFrame, how: Augment) -> list[str]:
    empty = [label for label, positives in counts(natural, how.labels).items() if how.target and not positives]
    return [f"no training slice is positive for {label}, so none can be copied" for label in empty]


def _prior_shift(natural: pl.DataFrame, augmented: pl.DataFrame) -> list[str]:
    """How the copies changed the training prevalence, which a model's uncalibrated probabilities inherit."""
    if len(natural) == len(augmented):
        return []
    before, after = _percentages(natural), _percentages(augmented)
    shifts = ", ".join(f"{label} {before[label]:.1f} -> {after[label]:.1f} %" for label in LABELS)
    return [f"training prevalence shifted by the copies: {shifts}"]


def _percentages(table: pl.DataFrame) -> dict[str, float]:
    return {label: 100 * positives / len(table) for label, positives in counts(table).items()}
