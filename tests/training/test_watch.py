import csv
import io
import math

import numpy as np
import pytest
from rich.console import Console

from ich.training.watch import COLUMNS, METRICS, Events, History, print_epoch


def row(epoch, **values):
    numbers = dict.fromkeys([name for name in COLUMNS if name not in ("stage", "phase", "epoch")], 0.5)
    return {"stage": "gate", "phase": "warm-up", "epoch": epoch, **numbers, **values}


def scalars(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [(event.step, event.value) for event in EventAccumulator(str(folder)).Reload().Scalars(name)]


def test_history_has_a_line_an_epoch(tmp_path):
    history = History(tmp_path / "history.csv")
    history.extend([row(1, loss=0.7, val_auc=math.nan, images_per_s=640.0), row(2, loss=1 / 3, val_auc=0.9)])
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    assert [(each["stage"], each["phase"], each["epoch"], each["loss"], each["val_auc"]) for each in rows] == [
        ("gate", "warm-up", "1", "0.7", ""),
        ("gate", "warm-up", "2", "0.333333", "0.9"),
    ]
    assert rows[0]["images_per_s"] == "640"


def test_rows_of_stages_that_are_kept_stay_as_they_are(tmp_path):
    path = tmp_path / "history.csv"
    History(path).extend([row(1), row(1, stage="subtypes")])
    before = path.read_text().splitlines()
    assert History(path, {"gate"}).of_stage("subtypes") == []
    assert path.read_text().splitlines() == before[:2]


def test_tensorboard_holds_every_epoch_and_each_labels_auc(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = Events(tmp_path, 0)
    events.add(row(1, loss=0.7, val_auc=math.nan), {"any": 0.8, "epidural": math.nan})
    events.add(row(2, loss=0.6, val_auc=0.9), {"any": 0.85, "epidural": 0.6})
    events.close()
    assert scalars(tmp_path / "train", "loss") == [(1, pytest.approx(0.7)), (2, pytest.approx(0.6))]
    assert scalars(tmp_path / "validation", "auc") == [(2, pytest.approx(0.9))]
    assert scalars(tmp_path / "validation", "auc/any") == [(1, pytest.approx(0.8)), (2, pytest.approx(0.85))]
    assert scalars(tmp_path / "validation", "auc/epidural") == [(2, pytest.approx(0.6))]
    tags = EventAccumulator(str(tmp_path / "train")).Reload().Tags()["scalars"]
    assert set(tags) == {*METRICS, "learning_rate", "images_per_s", "waiting"}


def test_tensorboard_shows_slices_and_what_is_said_of_them(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = Events(tmp_path, 0)
    events.show_samples(["ID_a"], np.zeros((1, 8, 8, 3), np.uint8))
    for epoch in (1, 2):
        events.tell_samples(f"| ID_a | 0.{epoch} |", epoch)
    events.close()
    found = EventAccumulator(str(tmp_path / "validation")).Reload()
    assert found.Tags()["images"] == ["samples/ID_a"]
    texts = [(event.step, event.tensor_proto.string_val[0].decode()) for event in found.Tensors("samples/text_summary")]
    assert texts == [(1, "| ID_a | 0.1 |"), (2, "| ID_a | 0.2 |")]


def test_what_a_killed_training_told_beyond_its_checkpoint_is_void(tmp_path):
    killed = Events(tmp_path, 0)
    for epoch in (1, 2, 3):
        killed.add(row(epoch, loss=float(epoch)), {})
    killed.close()
    continued = Events(tmp_path, 2)  # two epochs have a checkpoint
    continued.add(row(3, loss=30.0), {})
    continued.close()
    assert scalars(tmp_path / "train", "loss") == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_an_epoch_is_one_line():
    out = io.StringIO()
    print_epoch(Console(file=out, width=40), row(3, loss=0.25, images_per_s=1234.5, waiting=0.031))
    assert out.getvalue() == (
        "gate, warm-up, epoch 3: loss 0.2500, validation 0.5000 (AUC 0.500), 0 s, 1234 images/s, 3 % of the time "
        "waiting for data\n"
    )
