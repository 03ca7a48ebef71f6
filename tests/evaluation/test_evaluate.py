"""The stage on a made-up workspace, with a detector that needs no Keras."""

import base64
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import cv2
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score, roc_curve

from ich.calibration import RULES, Calibration, calibration_path, read_calibration
from ich.card import Card, Gate, write_card
from ich.config import Experiment
from ich.data import Manifest
from ich.errors import DataError
from ich.evaluation import cards, held_out, leakage
from ich.evaluation import evaluate as stage
from ich.evaluation.compute import Compute
from ich.evaluation.figures.training import read_history, training_figure
from ich.evaluation.predictions import select
from ich.files import fingerprint
from ich.labels import LABELS, SUBTYPES
from ich.png import encode_png, read_png
from ich.workspace import SPLITS, Workspace

LEVELS = ("slice", "series", "patient")
PATIENTS = {"train": 3, "val": 10, "test": 12}
SLICES = 4


class FakeDetector:
    """Knows the labels of most slices; P(any) of every fourth is under a gate of 0.1."""

    def __init__(self, truth: dict[str, list[int]]) -> None:
        self.truth, self.members = truth, ()

    def predict_files(
        self, slices: Manifest, done: Callable[[int], object] = int, ungated: bool = False
    ) -> SimpleNamespace:
        rng = np.random.default_rng(0)
        labels = np.array([self.truth[image_id] for image_id in slices.ids])
        probabilities = np.clip(0.15 + 0.5 * labels + rng.normal(size=labels.shape) * 0.2, 0.11, 1)
        probabilities[::4] = 0.05
        probabilities[:, 0] = probabilities.max(axis=1)
        done(len(slices))
        without_gate = probabilities.astype(np.float32)
        without_gate[::4, 1:] = 0.04
        return SimpleNamespace(
            probabilities=probabilities.astype(np.float32), gated_in=probabilities[:, 0] >= 0.1, raised=0,
            ungated=without_gate if ungated else None,
        )  # fmt: skip


def write_workspace(config: Experiment) -> dict[str, list[int]]:
    """Tables, images, ledger, model file, card and history; returns the labels by ImageID."""
    workspace = Workspace(config)
    rng = np.random.default_rng(1)
    truth, ledger = {}, []
    for split in SPLITS:
        workspace.images(split).mkdir(parents=True)
        for patient in range(PATIENTS[split]):
            for place in range(SLICES):
                image_id = f"ID_{split}{patient:02d}{place}"
                subtypes = rng.integers(0, 2, 5) * (patient % 2)
                truth[image_id] = [int(subtypes.any()), *map(int, subtypes)]
                ledger.append((image_id, "ok", f"{split}{patient}", None, f"series {split}{patient}"))
                cv2.imwrite(str(workspace.images(split) / f"{image_id}.png"), np.full((32, 32, 3), place, np.uint8))
        write_table(
            workspace, split, {name: labels for name, labels in truth.items() if name.startswith(f"ID_{split}")}
        )
    columns = ("ImageID", "status", "patient", "study", "series")
    pl.DataFrame(ledger, dict.fromkeys(columns, pl.String), orient="row").write_parquet(workspace.slices)
    write_model(config)
    workspace.run.mkdir(parents=True)
    (workspace.run / "history.csv").write_text(
        "stage,phase,epoch,learning_rate,loss,val_loss\ngate,a,0,1e-3,0.7,0.6\ngate,b,1,1e-3,0.5,0.55\n"
    )
    return truth


def write_table(workspace: Workspace, split: str, truth: dict[str, list[int]]) -> None:
    rows = [(image_id, *labels) for image_id, labels in truth.items()]
    pl.DataFrame(rows, ["ImageID", *LABELS], orient="row").write_csv(workspace.root / f"data_{split}.csv")


def write_model(config: Experiment) -> None:
    model = Workspace(config).final_model
    model.parent.mkdir()
    Workspace(config).splits.write_text("{}")
    model.write_bytes(b"not a network")
    gate = Gate(threshold=0.1, chosen="by hand", missed={}, positives={})
    write_card(
        model,
        Card(
            model=config.train.model, file_sha256=fingerprint(model), labels=LABELS, windows=config.preprocess.windows,
            size=config.preprocess.size, aspect="pad", gate=gate if config.train.model == "cascade" else None,
            conditional_prevalence=dict.fromkeys(SUBTYPES, 0.2), provenance={},
            training={"run": config.name, "splits_sha256": fingerprint(Workspace(config).splits)},
            config=config.model_dump(mode="json"),
        ),
    )  # fmt: skip


@pytest.fixture
def made_up(
    experiment: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch, quick_figures: Callable[[], None]
) -> Callable[..., Experiment]:
    """A workspace that is ready to be evaluated: made_up(split={...}, ...) -> its config."""

    def build(**sections: object) -> Experiment:
        config = experiment(**{"evaluate": {"bootstrap": 200, "examples": 8}} | sections)
        detector = FakeDetector(write_workspace(config))
        monkeypatch.setitem(sys.modules, "ich.ensemble", SimpleNamespace(load_models=lambda models: detector))
        return config

    return build


def test_evaluate_writes_everything_it_promises(
    made_up: Callable[..., Experiment], capsys: pytest.CaptureFixture[str], quick_figures: Callable[[], None]
):
    quick_figures()
    config = made_up()
    workspace = Workspace(config)
    outcome = stage.evaluate(config)

    predictions = pl.read_parquet(workspace.predictions)
    assert predictions.columns[:5] == ["split", "ImageID", "patient", "study", "series"]
    assert predictions["split"].to_list() == ["val"] * 40 + ["test"] * 48
    assert predictions.schema["probability_any"] == pl.Float32
    assert predictions.schema["label_subdural"] == pl.UInt8

    content = json.loads((workspace.report / "metrics.json").read_text(), parse_constant=pytest.fail)
    test = content["splits"]["test"]["levels"]["slice"]
    positives = int(predictions.filter(split="test")["label_any"].sum())
    assert test["positives"]["any"] == {"n": positives, "patients": 6, "prevalence": positives / 48}
    assert content["gate"]["account"]["test"]["gated_away"] == 12
    assert sum(test["counts"]["any"].values()) == 48
    figure = test["figures"]["any"]["auroc"]
    assert 0.5 < figure["low"] < figure["value"] < figure["high"] <= 1
    assert content["baseline"]["unreadable"] == 48  # the made-up workspace has no DICOM files
    assert outcome.incomplete
    assert content["baseline"]["difference"]["value"] is None
    assert {source["source"] for source in content["thresholds"]["slice"].values()} == {"validation (Youden)"}
    assert [model["sha256"] for model in content["models"]] == [fingerprint(workspace.final_model)]

    table = pl.read_csv(workspace.report / "metrics.csv", infer_schema_length=None)
    assert set(zip(table["split"], table["level"], strict=True)) == set(product(("val", "test"), LEVELS))
    assert pl.read_parquet(workspace.report / "metrics.parquet").columns == table.columns
    names = [f"cm_{label}" for label in LABELS]
    names += ["roc_curves", "pr_curves", "reliability", "reliability_series", "prevalence", "gate", "training_curves"]
    assert all(cv2.imread(str(workspace.report / f"{name}.png")) is not None for name in names)
    assert all(ElementTree.parse(workspace.report / f"{name}.svg").getroot().tag.endswith("svg") for name in names)
    assert all(path.exists() for path in outcome.outputs)
    assert outcome.counts["results"][0]["label"] == "any"
    assert not list(workspace.run.rglob(".*"))  # no temporary file is left
    printed = capsys.readouterr()
    assert printed.out == ""  # standard output belongs to --json
    lines = printed.err.splitlines()
    assert [line.split()[0] for line in lines[2:8]] == list(LABELS)  # one line a label in 80 columns
    assert f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]" in lines[2]
    assert "sens., spec. and F1 at each label's own threshold (Youden, validation)" in lines
    assert outcome.counts["report"] == str(workspace.report / "report.html")
    assert str(workspace.report) not in printed.err.replace("\n", "")  # the line of counts names it, once

    stage.evaluate(config)
    assert json.loads((workspace.report / "metrics.json").read_text())["splits"] == content["splits"]


def test_stage_2_can_be_left_to_what_the_gate_lets_through(made_up: Callable[..., Experiment], tmp_path: Path):
    for name, ungated in (("with", True), ("without", False)):
        config = made_up(workspace=tmp_path / name, evaluate={"bootstrap": 0, "examples": 1, "ungated": ungated})
        stage.evaluate(config)
        rows = pl.read_parquet(Workspace(config).predictions)
        assert rows["ungated_subdural"].is_null().all() is not ungated


def test_thresholds_and_constant_guess_come_from_validation_and_from_nothing_else(made_up: Callable[..., Experiment]):
    config = made_up()
    stage.evaluate(config)
    rows = pl.read_parquet(Workspace(config).predictions)
    content = json.loads((Workspace(config).report / "metrics.json").read_text())
    chosen = [content["thresholds"]["slice"][label]["value"] for label in LABELS]
    assert chosen == pytest.approx(best_youden(rows.filter(split="val")))
    assert chosen != pytest.approx(best_youden(rows.filter(split="test")))
    prevalence, truth = ([rows.filter(split=split)[f"label_{label}"] for label in LABELS] for split in ("val", "test"))
    losses = [log_loss(y, np.full(len(y), p.mean()), labels=[0, 1]) for p, y in zip(prevalence, truth, strict=True)]
    assert content["constant_guess"]["slice"]["weighted_log_loss"] == pytest.approx(
        np.average(losses, weights=[2, 1, 1, 1, 1, 1])
    )
    assert content["constant_guess"]["slice"]["exact_match"] == pytest.approx(1 - truth[0].mean())


def best_youden(rows: pl.DataFrame) -> list[float]:
    best = []
    for label in LABELS:
        false_positive_rate, sensitivity, candidates = roc_curve(rows[f"label_{label}"], rows[f"calibrated_{label}"])
        best.append(float(candidates[np.argmax((sensitivity - false_positive_rate).round(12))]))
    return best


def test_decisions_that_contradict_each_other_are_counted(made_up: Callable[..., Experiment]):
    config = made_up()
    stage.evaluate(config)
    content = json.loads((Workspace(config).report / "metrics.json").read_text())
    test = pl.read_parquet(Workspace(config).predictions).filter(split="test")
    thresholds = content["thresholds"]["slice"]
    called = {label: test[f"calibrated_{label}"] >= thresholds[label]["value"] for label in LABELS}
    expected = sum(any(called[label][row] for label in SUBTYPES) and not called["any"][row] for row in range(len(test)))
    assert content["splits"]["test"]["levels"]["slice"]["subtype_called_without_any"] == expected > 0
    assert f"{expected} of 48 test slices are called positive" in (Workspace(config).report / "report.html").read_text()


def test_subtypes_are_told_apart_among_positive_slices(made_up: Callable[..., Experiment]):
    config = made_up()
    stage.evaluate(config)
    found = json.loads((Workspace(config).report / "metrics.json").read_text())["among_positives"]
    positive = pl.read_parquet(Workspace(config).predictions).filter(split="test", label_any=1)
    assert found["n"] == len(positive)
    for subtype, each in found["subtypes"].items():
        truth = positive[f"label_{subtype}"]
        for name, score in (("model", subtype), ("p_any", "any")):
            assert each[name]["value"] == pytest.approx(roc_auc_score(truth, positive[f"calibrated_{score}"]))


def test_report_stands_alone_and_says_what_it_must(
    made_up: Callable[..., Experiment], quick_figures: Callable[[], None]
):
    quick_figures()
    config = made_up(
        data={}, steps=["phantom", "index", "split", "sample", "copy", "preprocess", "augment", "train", "evaluate"]
    )
    stage.evaluate(config)
    path = Workspace(config).report / "report.html"
    html = path.read_text()
    assert path.stat().st_size < 5_000_000
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", html).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.findall(r"(?:https?:)?//[a-z]", text.replace('xmlns:xlink="http://www.w3.org/1999/xlink"', ""))
    assert not re.findall(r"""(?:src|srcset|href)=["'](?!data:|#)""", html)
    assert "Not a medical device" in html
    assert "No figure on this page says anything about patients" in html
    assert "below 0.1 (by hand)" in html
    assert "labels are right: everything here is the model" in html
    assert "Positives between negatives" not in html  # the ledger has no place of a slice
    targets = re.findall(r'<a href="#([^"]+)"', html)
    assert len(targets) > 10
    assert set(targets) <= set(re.findall(r'\bid="([^"]+)"', html))
    assert len(re.findall("<h2", html)) == len(re.findall("<h2 id=", html))
    threshold = json.loads((path.parent / "metrics.json").read_text())["thresholds"]["patient"]["any"]["value"]
    assert f"at {threshold:.3g} (Youden, validation)" in html
    assert html.count('<div class="pair">') == 8
    assert not re.findall(r">\s*(?:nan|None)\b", html)


def test_examples_keep_their_colours(made_up: Callable[..., Experiment]):
    config = made_up(evaluate={"bootstrap": 0, "examples": 1})
    workspace = Workspace(config)
    for path in workspace.images("test").iterdir():
        path.write_bytes(encode_png(np.full((300, 300, 3), (10, 20, 30), np.uint8)))
    stage.evaluate(config)
    pair = re.search(r'<div class="pair">.*', (workspace.report / "report.html").read_text())
    assert pair
    rgb, green = (base64.b64decode(text) for text in re.findall('base64,([^"]+)', pair[0]))
    (workspace.root / "rgb.png").write_bytes(rgb)
    assert read_png(workspace.root / "rgb.png", cards.IMAGE_SIDE)[9, 9].tolist() == [10, 20, 30]
    assert cv2.imdecode(np.frombuffer(green, np.uint8), cv2.IMREAD_UNCHANGED)[9, 9] == 20


def test_slice_split_of_a_flat_model_says_that_it_is_optimistic(made_up: Callable[..., Experiment]):
    config = made_up(
        steps=["sample", "copy", "preprocess", "split", "augment", "train", "evaluate"],
        sample={"scope": "all"}, split={"unit": "slice"}, train={"model": "efficientnet"},
    )  # fmt: skip
    ledger = pl.read_parquet(Workspace(config).slices)
    ledger.with_columns(patient=pl.lit("the same")).write_parquet(Workspace(config).slices)
    outcome = stage.evaluate(config)
    assert "1 patients are in more than one split: the figures are optimistic" in outcome.notes
    html = (Workspace(config).report / "report.html").read_text()
    assert "these figures are optimistic" in html
    assert "This model has no gate" in html


def test_labels_without_positives_are_reported_as_undefined(made_up: Callable[..., Experiment]):
    config = made_up()
    workspace = Workspace(config)
    for split in ("val", "test"):
        table = pl.read_csv(workspace.table(split))
        table = table.with_columns(pl.col("epidural") * 0)
        table.with_columns(any=pl.max_horizontal(SUBTYPES)).write_csv(workspace.table(split))
    stage.evaluate(config)
    content = json.loads((workspace.report / "metrics.json").read_text())
    auroc = content["splits"]["test"]["levels"]["slice"]["figures"]["epidural"]["auroc"]
    assert (auroc["value"], auroc["reason"]) == (None, "no positive slice")
    assert content["thresholds"]["slice"]["epidural"]["source"] == "a fixed 0.5, as validation holds no positive slice"


def predictions_of_others(config: Experiment, path: Path, splits: tuple[str, ...] = ("val", "test")) -> pl.DataFrame:
    """A table of another model's probabilities of the held-out slices, in another order."""
    rows = pl.concat([pl.read_csv(Workspace(config).table(split)) for split in splits])
    rng = np.random.default_rng(5)
    table = rows.with_columns(
        pl.Series(label, np.clip(0.3 * rows[label] + rng.random(len(rows)) * 0.6, 0, 1)) for label in LABELS
    )
    table.sample(fraction=1, shuffle=True, seed=1).write_csv(path)
    return table.with_columns(truth=rows["any"])


def test_predictions_from_elsewhere_are_scored_as_they_are(made_up: Callable[..., Experiment], tmp_path: Path):
    config = made_up()
    shutil.rmtree(Workspace(config).run)  # of a training
    Workspace(config).final_model.unlink()
    path = tmp_path / "other.csv"
    table = predictions_of_others(config, path)
    named = config.model_copy(update={"name": "other"})
    with_file = named.model_copy(update={"evaluate": config.evaluate.model_copy(update={"predictions": path})})
    stage.evaluate(with_file)
    content = json.loads((Workspace(with_file).report / "metrics.json").read_text(), parse_constant=pytest.fail)
    test = table.filter(pl.col("ImageID").str.starts_with("ID_test"))
    found = content["splits"]["test"]["levels"]["slice"]["figures"]["any"]["auroc"]["value"]
    assert found == pytest.approx(roc_auc_score(test["truth"], test["any"]))
    assert content["thresholds"]["slice"]["any"]["source"] == "validation (Youden)"
    assert (content["calibration"], content["gate"], content["models"]) == (None, None, [])
    assert content["incoherent"] == test.filter(pl.col("any") < pl.max_horizontal(SUBTYPES)).height > 0
    page = (Workspace(with_file).report / "report.html").read_text()
    assert "they are scored as they are" in page
    assert "model was trained on is not known" in page
    assert not re.findall(r">\s*(?:nan|None)\b", page)
    assert not Workspace(config).models.joinpath("cascade_final_calibration.json").exists()

    predictions_of_others(config, path, ("test",))
    stage.evaluate(with_file)
    content = json.loads((Workspace(with_file).report / "metrics.json").read_text())
    assert content["thresholds"]["slice"]["any"]["value"] == 0.5
    page = (Workspace(with_file).report / "report.html").read_text()
    assert "All six thresholds are fixed at 0.5, as there are no validation data." in page
    assert "at 0.5 (fixed: no validation data)" in page
    assert not re.search("Youden's index weighs|Each label has its own|Each level has|probabilities do not:", page)
    pl.read_csv(path).head(47).write_csv(path)
    with pytest.raises(DataError, match="1 of 48 labelled images have no prediction"):
        stage.evaluate(with_file)
    path.unlink()
    with pytest.raises(DataError, match=r"predictions .*other\.csv: it does not exist; name the file"):
        stage.evaluate(with_file)


def test_another_models_probabilities_are_compared_with(made_up: Callable[..., Experiment], tmp_path: Path):
    config = made_up()
    predictions_of_others(config, path := tmp_path / "other.csv", ("test",))
    stage.evaluate(config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"compare_with": path})}))
    content = json.loads((Workspace(config).report / "metrics.json").read_text(), parse_constant=pytest.fail)
    ours = content["splits"]["test"]["levels"]["slice"]["figures"]["any"]["auroc"]["value"]
    of_any = content["compared"]["labels"]["any"]["auroc"]
    assert of_any["difference"]["value"] == pytest.approx(ours - of_any["other"]["value"])
    assert of_any["difference"]["low"] < of_any["difference"]["value"] < of_any["difference"]["high"]
    page = (Workspace(config).report / "report.html").read_text()
    assert "Compared with other.csv" in page
    section = page[page.index("Compared with other.csv</h2>") :]
    assert f"<b>{ours:.3f}</b>" in section[section.index("<th>any</th>") :].splitlines()[0]


def test_calibration_lies_beside_the_model_and_can_be_left_out(made_up: Callable[..., Experiment]):
    config = made_up()
    stage.evaluate(config)
    rows = pl.read_parquet(Workspace(config).predictions)
    calibration = calibration_of(config)
    assert calibration.fitted_on.slices == 40
    content = json.loads((Workspace(config).report / "metrics.json").read_text())
    for level, rules in calibration.operating_points.items():
        assert rules["youden"]["any"].value == content["thresholds"][level]["any"]["value"]
    raw = rows.select(f"probability_{label}" for label in LABELS).to_numpy()
    reported = rows.select(f"calibrated_{label}" for label in LABELS).to_numpy()
    assert np.array_equal(reported, calibration.apply(raw, rows["gated_in"].to_numpy()))
    assert (reported[:, 0] >= reported.max(axis=1)).all()
    assert not np.array_equal(reported, raw)

    none = config.evaluate.model_copy(update={"calibration": "none"})
    stage.evaluate(config.model_copy(update={"evaluate": none}))
    rows = pl.read_parquet(Workspace(config).predictions)
    assert rows["calibrated_any"].equals(rows["probability_any"])
    assert "evaluate.calibration is none" in (Workspace(config).report / "report.html").read_text()


def calibration_of(config: Experiment) -> Calibration:
    """That beside the workspace's model."""
    model = Workspace(config).final_model
    return read_calibration(calibration_path(model), [fingerprint(model)])


def test_the_calibration_names_the_validation_slices_and_one_of_test_slices_is_refused(
    made_up: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
):
    config = made_up(evaluate={"bootstrap": 0, "examples": 0})
    stage.evaluate(config)
    rows = pl.read_parquet(Workspace(config).predictions)
    names = sorted(rows.filter(split="val")["ImageID"])
    told = calibration_of(config).fitted_on
    assert (told.split, told.slices, told.patients) == ("val", 40, 10)
    expected = hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()
    assert told.image_ids_sha256 == leakage.ids_sha256(names) == expected

    fit, test = held_out.fitting.calibration_from, select(rows, "test")
    monkeypatch.setattr(held_out.fitting, "calibration_from", lambda val, *others: fit(test, *others))
    with pytest.raises(DataError, match="the calibration was fitted on the test slices, which then score themselves"):
        stage.evaluate(config)


def test_operating_points_beside_the_model_are_those_of_the_report_and_of_validation(
    made_up: Callable[..., Experiment],
):
    config = made_up(evaluate={"bootstrap": 0, "examples": 0})
    stage.evaluate(config)
    content = json.loads((Workspace(config).report / "metrics.json").read_text())
    in_file = calibration_of(config).operating_points
    assert set(in_file) == set(LEVELS)
    for level, rules in in_file.items():
        of_val, of_test = (content["splits"][split]["levels"][level]["operating_points"] for split in ("val", "test"))
        assert set(rules) == set(of_val) == set(of_test) == set(RULES)
        for rule, label in product(RULES, LABELS):
            point = rules[rule][label]
            assert point.value == of_val[rule][label]["threshold"] == of_test[rule][label]["threshold"]
            assert (point.tp, point.fp) == (of_val[rule][label]["tp"], of_val[rule][label]["fp"])  # chosen on them


def test_the_curve_of_the_gate_is_what_predictions_give(
    made_up: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(held_out.compute, "of", lambda detector: Compute(1.0, 3.0))
    config = made_up(evaluate={"bootstrap": 0, "examples": 0})
    stage.evaluate(config)
    gate = json.loads((Workspace(config).report / "metrics.json").read_text())["gate"]
    test = pl.read_parquet(Workspace(config).predictions).filter(split="test")
    p_any = test["probability_any"].to_numpy()
    (in_use,) = [row for row in gate["curve"] if row["chosen"]]
    higher = next(row for row in gate["curve"] if row["threshold"] > 0.4)
    assert in_use["threshold"] == 0.1
    for row in (in_use, higher):
        inside = p_any >= row["threshold"]
        assert row["share_in"] == inside.mean()
        for label in LABELS:
            positive = test[f"label_{label}"].to_numpy() == 1
            missed = int((positive & ~inside).sum())
            assert row["missed"][label] == {
                "missed": missed, "positives": positive.sum(), "share": missed / positive.sum()
            }  # fmt: skip
    assert in_use["share_in"] == 0.75 > higher["share_in"] > 0
    assert gate["saved"] == in_use["saved"] == pytest.approx(0.25 * 3 / 4)  # a quarter is spared 3 of 4 operations


def test_what_calls_are_worth_at_the_local_prevalence_by_hand(made_up: Callable[..., Experiment]):
    config = made_up(evaluate={"bootstrap": 0, "examples": 0, "local_prevalence": 0.04})
    stage.evaluate(config)
    content = json.loads((Workspace(config).report / "metrics.json").read_text())
    test = pl.read_parquet(Workspace(config).predictions).filter(split="test")
    test = test.group_by("series").agg(pl.col("label_any", "calibrated_any").max())
    truth, p = test["label_any"].to_numpy() == 1, test["calibrated_any"].to_numpy().astype(float)
    for rule in RULES:
        point = content["prevalence"]["points"][rule]
        (local,) = [each for each in point["at"] if each["place"] == "local"]
        called = p >= content["splits"]["val"]["levels"]["series"]["operating_points"][rule]["any"]["threshold"]
        right, wrong = 0.04 * called[truth].mean(), 0.96 * called[~truth].mean()
        assert local["prevalence"] == 0.04
        assert local["ppv"]["value"] == pytest.approx(right / (right + wrong))
        assert local["alerts"]["value"] == pytest.approx(100 * (right + wrong))
        assert local["missed"]["value"] == pytest.approx(4 - 100 * right)


def _empty_the_test_table(workspace: Workspace) -> None:
    write_table(workspace, "test", {})


def _lose_an_image(workspace: Workspace) -> None:
    (workspace.images("test") / "ID_test000.png").unlink()


def _lose_the_model(workspace: Workspace) -> None:
    workspace.final_model.unlink()


def _lose_the_ledger(workspace: Workspace) -> None:
    workspace.slices.unlink()


def _cut_the_ledger_off(workspace: Workspace) -> None:
    workspace.slices.write_bytes(workspace.slices.read_bytes()[:-50])


def test_weights_of_a_model_that_may_know_the_held_out_are_told(made_up: Callable[..., Experiment]):
    config = made_up()
    workspace = Workspace(config)
    card = workspace.final_model.with_suffix(".json")
    content, line = json.loads(card.read_text()), "patients who are held out here is not known"
    stage.evaluate(config)
    assert line not in (workspace.report / "report.html").read_text()
    weights = [{"file": "stage1<b>.h5", "sha256": "0123456789abcdef" * 4}]
    content["training"]["weights"] = weights
    card.write_text(json.dumps(content))
    outcome = stage.evaluate(config)
    page = (workspace.report / "report.html").read_text()
    assert "Weights come from stage1&lt;b&gt;.h5 (<code>sha256 0123456789abcdef</code>): whether" in page
    assert line in page
    assert json.loads((workspace.report / "metrics.json").read_text())["models"][0]["weights"] == weights
    assert any("weights come from stage1<b>.h5" in note for note in outcome.notes)


def _share_a_patient(workspace: Workspace) -> None:
    ledger = pl.read_parquet(workspace.slices)
    ledger.with_columns(pl.col("patient").replace("test0", "train0")).write_parquet(workspace.slices)


def _share_pixels(workspace: Workspace) -> None:
    same = pl.when(pl.col("ImageID").is_in(["ID_test000", "ID_train000"])).then(pl.lit("same")).otherwise("ImageID")
    ledger = pl.read_parquet(workspace.slices).with_columns(hu_hash=same, hu_max=pl.lit(60, pl.Int32))
    ledger.write_parquet(workspace.slices)


def _lose_the_split(workspace: Workspace) -> None:
    workspace.splits.unlink()


def _split_anew(workspace: Workspace) -> None:
    workspace.splits.write_text('{"unit": "patient"}')


def _train_another_run(workspace: Workspace) -> None:
    card = workspace.final_model.with_suffix(".json")
    content = json.loads(card.read_text())
    content["training"]["run"] = "other"
    card.write_text(json.dumps(content))


def _edit_the_window_of_the_card(workspace: Workspace) -> None:
    card = workspace.final_model.with_suffix(".json")
    content = json.loads(card.read_text())
    content["windows"][0] = [75.0, 1.0]
    card.write_text(json.dumps(content))


def _edit_the_input_of_the_card(workspace: Workspace) -> None:
    card = workspace.final_model.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"input": "neighbours"}))


def _empty_the_config_of_the_card(workspace: Workspace) -> None:
    card = workspace.final_model.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"config": {}}))


def _train_with_other_settings(workspace: Workspace) -> None:
    card = workspace.final_model.with_suffix(".json")
    content = json.loads(card.read_text())
    content["config"]["train"]["heads"]["gate_units"] = 7
    card.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_empty_the_test_table, "data_test.csv has no rows"),
        (_lose_an_image, r"ID_test000.png does not exist \(1 of the 48 images that data_test.csv lists"),
        (_lose_the_model, "cascade_final.keras does not exist"),
        (_lose_the_ledger, "slices.parquet does not exist"),
        (_cut_the_ledger_off, r"slices.parquet cannot be read \(.*\); delete it and run its step again"),
        (_share_a_patient, "1 patients are in more than one split"),
        (_share_pixels, r"1 groups of slices with identical pixels .* ID_test000 \(test\) and ID_train000 \(train\)"),
        (_lose_the_split, "splits.json does not exist; run the step that writes it"),
        (_split_anew, "the model was trained with another splits.json"),
        (_train_with_other_settings, "trained with train.heads.gate_units 7, now 512; train again"),
        (_edit_the_window_of_the_card, r"the card of cascade_final\.keras contradicts the config it holds"),
        (_edit_the_input_of_the_card, r"the card of cascade_final\.keras contradicts the config it holds"),
        (_empty_the_config_of_the_card, r"trained with preprocess\.size not set, now 64; train again"),
        (_train_another_run, "the saved model is cascade of run other, not cascade of run default"),
    ],
)
def test_faults_are_refused_before_anything_is_written(
    made_up: Callable[..., Experiment], damage: Callable[[Workspace], None], message: str
):
    config = made_up()
    damage(Workspace(config))
    with pytest.raises(DataError, match=message):
        stage.evaluate(config)
    assert not Workspace(config).predictions.exists()
    assert not Workspace(config).report.exists()


@pytest.mark.parametrize("wrong", [np.nan, 1.5, -0.1])
def test_a_model_that_gives_no_probabilities_is_refused(
    made_up: Callable[..., Experiment], monkeypatch: pytest.MonkeyPatch, wrong: float
):
    config = made_up()

    def predict_files(
        self: FakeDetector, slices: Manifest, done: Callable[[int], object] = int, ungated: bool = False
    ) -> SimpleNamespace:
        return SimpleNamespace(
            probabilities=np.full((len(slices), 6), wrong, np.float32), gated_in=np.ones(len(slices), bool), raised=0,
            ungated=None,
        )  # fmt: skip

    monkeypatch.setattr(FakeDetector, "predict_files", predict_files)
    with pytest.raises(DataError, match=r"outside \[0, 1\] for 40 slices of split val"):
        stage.evaluate(config)


def test_history_is_read_tolerantly(tmp_path: Path):
    path = tmp_path / "history.csv"
    assert read_history(path) is None
    for text in ("", "epoch,loss\n0,1\n", "stage,loss,val_loss\n"):
        path.write_text(text)
        assert read_history(path) is None
    path.write_text("epoch,loss,val_loss\n0,1,1\n1,0.5,\n")
    history = read_history(path)
    assert history is not None
    assert history["stage"].to_list() == ["", ""]
    assert training_figure(history)
