"""`ich train --dry-run` on tiny networks, and what becomes of a device without memory."""

import json

import jax
import pytest
import yaml

from ich.cli import run_command
from ich.config.read import load
from ich.files import write_json
from ich.models.build import build, set_trainable
from ich.training import fit, speed
from ich.training.step import Learner
from ich.training.validation import Validation
from square_slices import squares_experiment, tiny_backbones, write_squares

__all__ = ["tiny_backbones"]

HEADS, TOP, ALL = ({"name": which, "epochs": 2, "learning_rate": 1e-3, "trainable": which} for which in
                   ("heads", "top", "all"))  # fmt: skip
# Two convolutions and a batch normalisation; the gate's head.
FIRST, NORMALISED, SECOND, HEAD = 8 * 8 * 3 * 16 + 16, 4 * 16, 4 * 4 * 16 * 16 + 16, (16 + 1) * 16 + (16 + 1)

FULL = {"train.backbones": "{efficientnet: EfficientNetV2M, convnext: ConvNeXtBase}", "preprocess.size": "256"}


@pytest.fixture
def config(tiny_backbones, tmp_path):
    root = tmp_path / "workspace"
    write_squares(root, train=40, val=20)
    (root / "records").mkdir()
    experiment = squares_experiment(root, phases=[HEADS, TOP, ALL], end_to_end={"epochs": 1})
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(experiment.model_dump(mode="json", by_alias=True)))
    return path


def test_a_dry_run_says_what_learns_and_writes_nothing(config, tmp_path, capfd):
    def files():
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    before = files()
    assert run_command(["train", "--dry-run", "-c", str(config), "--json"]) == 0
    assert files() == before
    plan = json.loads(capfd.readouterr().out)
    gate, subtypes, end = plan["stages"]
    assert [(stage["stage"], stage["slices"]) for stage in plan["stages"]] == [
        ("gate", 40), ("subtypes", 20), ("end-to-end", 40)
    ]  # fmt: skip
    split = [(each["trainable_parameters"], each["frozen_parameters"]) for each in gate["phases"]]
    assert split == [
        (HEAD, FIRST + NORMALISED + SECOND),
        (SECOND + HEAD, FIRST + NORMALISED),
        (FIRST + NORMALISED // 2 + SECOND + HEAD, NORMALISED // 2),
    ]
    assert [(each["trainable_layers"], each["layers"]) for each in gate["phases"]] == [(2, 5), (3, 5), (5, 5)]
    assert gate["phases"][0]["learns"] == {
        "gate_efficientnet (EfficientNetV2Demo)": "frozen, batch-norm statistics too", "head": "all layers"
    }  # fmt: skip
    assert all(each["memory"]["fits"] for stage in (gate, subtypes, end) for each in stage["phases"])
    assert [choice["recompute"] for choice in plan["on_16_GB"]] == [False, True]


def test_a_dry_run_for_people_has_a_line_for_each_thing(config, capfd):
    assert run_command(["train", "--dry-run", "-c", str(config), "--train.batch_size", "auto"]) == 0
    told = capfd.readouterr().out
    for text in ("batch size 16 (auto: ", "a stage has 20 slices only", "no estimate: device cpu", "A GPU of 16 GB"):
        assert told.count(text) >= 1, text


def test_a_shared_trunk_rests_with_the_subtypes(config, capfd):
    assert run_command(["train", "--dry-run", "-c", str(config), "--json", "--train.model", "modified-cascade"]) == 0
    _, subtypes, _ = json.loads(capfd.readouterr().out)["stages"]
    top = subtypes["phases"][1]["learns"]
    assert top["efficientnet (EfficientNetV2Demo)"] == "frozen: it is the gate's trunk too"
    assert top["convnext (ConvNeXtDemo)"].startswith("last resolution stage: from ")


def test_backbones_times_add_up(config):
    networks = build(load(config).train, 64, 0)
    full = load(config, FULL)

    def rates(part, which):
        return speed.images_per_s(full, set_trainable(networks, part, which), which)

    assert rates("gate", "heads") == pytest.approx((7579, 7579))
    assert rates("gate", "top") == pytest.approx((1919, 7579))
    assert rates("subtypes", "all") == pytest.approx((1919 * 1759 / (1919 + 1759),) * 2)
    assert rates("final", "all") == pytest.approx((1 / (2 / 1919 + 1 / 1759),) * 2)


def test_time_is_told_only_where_it_was_measured(config):
    experiment = load(config, FULL)
    assert speed.why_unknown(experiment, "NVIDIA H100 80GB HBM3", "mixed_bfloat16", 128) is None
    assert "no estimate: batch size 32 not" in speed.why_unknown(
        experiment, "NVIDIA H100 80GB HBM3", "mixed_bfloat16", 32
    )
    assert "device Tesla T4" in speed.why_unknown(experiment, "Tesla T4", "mixed_bfloat16", 128)


def test_time_of_an_earlier_run_with_the_same_settings(config):
    experiment = load(config)
    run = experiment.workspace / "runs" / experiment.name
    write_json(run / "config.json", experiment.model_dump(mode="json", by_alias=True))
    (run / "history.csv").write_text("stage,phase,seconds\ngate,top,10\ngate,top,30\ngate,top,20\ngate,all,99\n")
    assert speed.seconds_an_epoch(experiment, "gate", "top") == 20
    assert speed.seconds_an_epoch(experiment, "gate", "heads") is None
    assert speed.seconds_an_epoch(load(config, {"train.batch_size": "8"}), "gate", "top") is None


EXHAUSTED = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12884901888 bytes.")


def fails(*_, **__):
    raise EXHAUSTED


@pytest.mark.parametrize(
    ("owner", "name", "replacement"),
    [
        (Learner, "compile", fails),
        (Learner, "compile", lambda *_: fails),
        (Validation, "predict", fails),
        (fit, "arrays", fails),
    ],
    ids=["compile", "first step", "validation", "checkpoint"],
)
def test_out_of_memory_is_one_line_wherever_it_happens(config, capfd, monkeypatch, owner, name, replacement):
    monkeypatch.setattr(owner, name, replacement)
    assert run_command(["train", "-c", str(config)]) == 1
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("ich: ")]
    assert len(error) == 1
    for remedy in ("halve train.batch_size", "train.recompute: true", "train.batch_size: auto"):
        assert remedy in error[0]
    assert "Traceback" not in error[0]
