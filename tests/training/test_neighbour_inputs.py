"""A training whose labels can be seen in the neighbour only."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from ich.card import read_card
from ich.config import Experiment
from ich.detector import load_detector
from ich.errors import DataError
from ich.labels import LABELS
from ich.neighbours import read_slices
from ich.training.finished import FinishedStages
from ich.training.train import train
from ich.workspace import Workspace
from square_slices import ALL, squares_experiment, tiny_backbones, write_squares

__all__ = ["tiny_backbones"]


def hand_labels_on(workspace: Workspace) -> None:
    """Make each split one series in a random order, and give every slice the labels of the one before it."""
    ledger = []
    for split in ("train", "val"):
        table = pl.read_csv(workspace.table(split))
        order = np.random.default_rng(len(table)).permutation(len(table))
        labels = table.select(LABELS).to_numpy()
        labels[order[1:]] = labels[order[:-1]]
        pl.concat([table.select("ImageID"), pl.DataFrame(labels, LABELS)], how="horizontal").write_csv(
            workspace.table(split)
        )
        place = pl.Series(np.argsort(order).astype(np.int32))
        ledger.append(
            table.select("ImageID", series=pl.lit(split), slice_index=place, status=pl.lit("ok"), png_sha256=pl.lit(""))
        )
    for path in (workspace.slices, workspace.index):
        pl.concat(ledger).write_parquet(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    root = tmp_path_factory.mktemp("neighbours")
    write_squares(root, train=240, val=60)
    config = squares_experiment(root, model="convnext", input="neighbours", neighbours_window=1, phases=[ALL])
    hand_labels_on(Workspace(config))
    return config


def test_a_label_that_only_the_slice_before_shows_is_learnt(config: Experiment, tiny_backbones: None):
    workspace = Workspace(config)
    outcome = train(config)
    assert outcome.notes == []
    card = read_card(workspace.final_model)
    assert (card.input, card.neighbours_window) == ("neighbours", 1)
    val = read_slices(workspace, "val")
    own = np.array([int(name[-4:]) % 2 for name in val.ids])  # a square in the slice itself
    assert 0.4 < roc_auc_score(val.labels[:, 0], own) < 0.6
    predicted = load_detector(workspace.final_model).predict_files(val)
    assert roc_auc_score(val.labels, predicted.probabilities, average="macro") > 0.85


def test_another_order_along_the_series_is_another_training(config: Experiment):
    workspace = Workspace(config)
    ledger = pl.read_parquet(workspace.slices)
    before = FinishedStages(workspace, "float32").key
    ledger.with_columns(pl.col("slice_index").reverse()).write_parquet(workspace.slices)
    assert FinishedStages(workspace, "float32").key != before
    ledger.write_parquet(workspace.slices)


def test_neighbours_without_images_end_the_training_before_it_begins(config: Experiment):
    workspace = Workspace(config)
    ledger = pl.read_parquet(workspace.slices)
    ledger[:-30].write_parquet(workspace.slices)
    with pytest.raises(DataError, match="set sample.whole_series: true"):
        train(config)
    ledger.write_parquet(workspace.slices)
