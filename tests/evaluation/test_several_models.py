"""Evaluation of models that are named: their mean, on what none of them was trained on."""

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ich.card import read_card, write_card
from ich.cli import run_command
from ich.config import Evaluate
from ich.config.read import load
from ich.errors import ConfigError, DataError
from ich.evaluation.evaluate import evaluate
from ich.files import fingerprint, read_json, write_json
from ich.labels import LABELS
from ich.runs import runs_of
from ich.stages import LEFT_OUT, run_step, standing
from ich.workspace import SPLITS, Workspace
from square_slices import squares_experiment, tiny_backbones, write_squares
from test_detector import card, networks, saved

__all__ = ["tiny_backbones"]

SLICES = {"train": 20, "val": 30, "test": 40}


@pytest.fixture(scope="module")
def built(tiny_backbones, tmp_path_factory):
    """A prepared workspace, and files of a flat model, a cascade, and a flat model whose card the tests change."""
    root = tmp_path_factory.mktemp("several")
    write_squares(root, **SLICES)
    ledger = [
        (f"ID_{split}{i:04d}", "ok", f"{split}{i // 4}", "study", "series")
        for split in SPLITS for i in range(SLICES[split])
    ]  # fmt: skip
    columns = ("ImageID", "status", "patient", "study", "series")
    pl.DataFrame(ledger, columns, orient="row").write_parquet(root / "slices.parquet")
    made_for = {"training": {"run": "earlier", "splits_sha256": fingerprint(root / "splits.json")}}
    flat, gated = card("efficientnet").model_copy(update=made_for), card(threshold=0.5).model_copy(update=made_for)
    models = [
        saved(networks("efficientnet"), root, flat, "flat"),
        saved(networks("cascade", seed=4), root, gated, "gated"),
        saved(networks("efficientnet", seed=5), root, flat, "other"),
    ]
    return squares_experiment(root), models


def named(config, name, models, **changes):
    settings = Evaluate(bootstrap=20, examples=2, models=models)
    return config.model_copy(update={"name": name, "evaluate": settings, "steps": ("train", "evaluate")} | changes)


def change_card(path, **changes):
    write_card(path, read_card(path).model_copy(update=changes))


@pytest.fixture
def other(built):
    """The third model, whose card is as it was after the test."""
    path = built[1][2]
    before = read_card(path)
    yield path
    write_card(path, before)


@pytest.fixture(scope="module")
def evaluated(built):
    """The first two models alone and together: configs by name."""
    config, (first, second, _) = built
    configs = {
        name: named(config, name, models)
        for name, models in {"first": (first,), "second": (second,), "both": (first, second)}.items()
    }
    write_json(Workspace(config).records / "train.json", {"finished": False})
    for each in configs.values():
        run_step("evaluate", each)
    return configs


def test_the_mean_is_evaluated(evaluated):
    tables = {name: pl.read_parquet(Workspace(config).predictions) for name, config in evaluated.items()}
    columns = [f"probability_{label}" for label in LABELS]
    first, second, both = (tables[name].select(columns).to_numpy() for name in ("first", "second", "both"))
    assert np.abs(first - second).max() > 0.01
    assert both == pytest.approx((first.astype(np.float64) + second) / 2, abs=1e-6)
    content = read_json(Workspace(evaluated["both"]).report / "metrics.json")
    val, test = (tables["both"].filter(split=split) for split in ("val", "test"))
    for label in LABELS:  # figures worked out again from the mean, thresholds from validation alone
        threshold = content["thresholds"]["slice"][label]["value"]
        assert youden(val, label, threshold) == max(youden(val, label, p) for p in val[f"calibrated_{label}"])
        called, truth = test[f"calibrated_{label}"].cast(float) >= threshold, test[f"label_{label}"].cast(bool)
        counts = content["splits"]["test"]["levels"]["slice"]["counts"][label]
        assert (counts["tp"], counts["fp"]) == ((called & truth).sum(), (called & ~truth).sum())


def youden(rows, label, threshold):
    called, truth = rows[f"calibrated_{label}"].cast(float) >= threshold, rows[f"label_{label}"].cast(bool)
    return round((called & truth).sum() / truth.sum() - (called & ~truth).sum() / (~truth).sum(), 9)


def test_the_report_says_whose_mean_it_is(evaluated):
    folder = Workspace(evaluated["both"]).report
    models = read_json(folder / "metrics.json")["models"]
    assert [(each["file"], each["model"], each["run"]) for each in models] == [
        ("flat.keras", "efficientnet", "earlier"), ("gated.keras", "cascade", "earlier"),
    ]  # fmt: skip
    assert [each["gate"] for each in models] == [None, {"threshold": 0.5, "chosen": "by hand"}]
    page = (folder / "report.html").read_text()
    assert "Evaluation <b>both</b> (mean of 2 models: cascade + efficientnet)" in page
    assert all(each["sha256"] in page for each in models)
    assert "The other has no gate, so that no slice was kept away by all" in page
    assert not (folder / "training_curves.png").exists()
    assert "Thin lines part the phases" not in page
    alone = (Workspace(evaluated["second"]).report / "report.html").read_text()
    assert "mean of 1" not in alone
    assert "gated.keras: cascade, trained as run earlier" in alone


def test_runs_lists_evaluations_as_such(evaluated):
    found = {run["name"]: run for run in runs_of(Workspace(evaluated["both"]))}
    assert found["both"]["state"] == "evaluation of 2 models"
    assert found["first"]["state"] == "evaluation of 1 model"
    assert (found["both"]["model"], found["both"]["stages"]) == ("cascade + efficientnet", [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["both"]["time"])
    assert 0 <= found["both"]["test_auroc_any"] <= 1


def test_it_stands_until_a_model_or_card_changes(evaluated):
    """And does not depend on the last training, of whatever settings: only the models that are named are read."""
    config = evaluated["both"]
    assert standing("evaluate", config).stale == LEFT_OUT  # (no DICOM file for the baseline)
    path = config.evaluate.models[1]
    before = read_card(path)
    change_card(path, provenance={"time": "later"})
    assert standing("evaluate", config).stale == "gated.json changed"
    write_card(path, before)
    assert standing("evaluate", config).stale == LEFT_OUT


def test_what_may_have_been_trained_on_the_held_out_is_refused(built, other):
    change_card(other, training={"splits_sha256": "that of another fold"})
    with pytest.raises(DataError, match=r"other\.keras was trained with another splits\.json: what is held out here"):
        evaluate(named(built[0], "refused", (built[1][0], other)))
    assert not Workspace(named(built[0], "refused", ())).run.exists()


def test_a_model_of_other_images_is_refused(built, other):
    change_card(other, aspect="stretch")
    with pytest.raises(DataError, match=r"other\.keras was trained with aspect stretch, the images here have pad"):
        evaluate(named(built[0], "refused", (other,)))


def test_the_report_of_a_training_is_not_replaced(built):
    config = named(built[0], "trained", built[1][:2])
    Workspace(config).run.mkdir(parents=True)
    (Workspace(config).run / "config.json").write_text("{}")
    with pytest.raises(DataError, match="trained is of a training, whose predictions and report theirs would replace"):
        evaluate(config)


def test_one_model_needs_no_brackets(config_file):
    assert load(config_file(), {"evaluate.models": "a.keras"}).evaluate.models == (Path("a.keras"),)


def test_run_does_not_train_one_and_evaluate_others(config_file, capfd):
    config = config_file(steps="[index, split, sample, copy, preprocess, train, evaluate]")
    assert run_command(["run", "-c", str(config), "--evaluate.models", "[a.keras, b.keras]"]) == ConfigError.exit_code
    assert "train is one of the steps" in capfd.readouterr().err
