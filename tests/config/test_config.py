from pathlib import Path

import pytest

from ich.config import Copy, Experiment, Preprocess, Train
from ich.config.keys import config_keys
from ich.config.read import in_section, load, validate
from ich.errors import ConfigError
from ich.labels import LABELS

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
MINIMAL = {"workspace": "w", "data": {"labels": "l.csv", "dicom": "d"}}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_is_valid(path):
    assert isinstance(load(path), Experiment)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splt": {}}, "unknown key splt; did you mean split"),
        ({"train": {"bach_size": 3}}, "unknown key train.bach_size; did you mean batch_size"),
        ({"headers": "clinical"}, r"unknown key headers; did you mean phantom\.headers"),
        ({"train": {"batch_size": "many"}}, "train.batch_size: .*integer.* got 'many'"),
        ({"train": {"phases": [{"name": "a", "epochs": 0, "learning_rate": 1e-3, "trainable": "all"}]}}, "no epoch"),
        ({"split": {"fractions": [0.8, 0.1, 0.2]}}, "sum to 1"),
        ({"split": {"folds": 2, "fold": 0}}, r"split.folds must be 0 or at least 3 \(.*\), got 2"),
        ({"split": {"folds": 5, "fold": 5}}, "split.fold must be 0 to 4, as split.folds is 5; got 5"),
        ({"split": {"folds": 5}}, "split.fold must be 0 to 4, as split.folds is 5; it is not set"),
        ({"split": {"fold": 0}}, "split.fold is 0, but split.folds is 0: set split.folds, or leave fold out"),
        ({"split": {"folds": 5, "fold": 0, "unit": "slice"}}, "split.folds needs split.unit: patient"),
        ({"split": {"folds": 5, "fold": 0, "published": "s.json"}}, "split.published has its own folds"),
        ({"names": {"train": "identical_pixels"}}, "names: identical_pixels.csv is the name of something else"),
        ({"steps": ["train", "augment"]}, "augment must come before train"),
        ({"steps": ["datacard", "augment"]}, "augment must come before datacard"),
        ({"steps": []}, "steps is empty: name at least one step"),
        (
            {"train": {"backbones": {"convnext": "ConvNeXtDemo"}}},
            "ConvNeXtDemo has no .* weights: set train.weights: none",
        ),
        ({"steps": ["sample", "split"]}, "sample.scope is train, so split must come before sample"),
        ({"steps": ["split", "sample"]}, "index must come before it"),
        ({"data": {"labels": "l.csv"}}, "data.dicom is not set"),
        ({"names": {"val": "data_train"}}, "names: each must be different"),
        ({"names": {"sampled": "data_train.csv"}}, "names: each must be different"),
        ({"names": {"sampled": "slices.parquet"}}, "names: slices.parquet is the name of something else"),
        ({"name": ".."}, "name: .*pattern"),
        ({"names": {"png": ".data_train.new"}}, "names: each must be one plain name"),
        ({"names": {"png": "a\0b"}}, "names: each must be one plain name"),
        ({"workspace": "/a\0b"}, "workspace: .*null character"),
        ({"workspace": "~nosuchuser/x"}, "workspace: there is no such home folder, ~nosuchuser/x"),
        ({"phantom": {"slices": [5000, 5000]}}, "phantom.slices.0: .*less than or equal to 1000"),
        ({"train": {"loss": {"label_weights": {"any": -5}}}}, "train.loss.label_weights.any: .*greater than 0"),
        ({"seed": "9" * 400}, r"seed: .{,200}\.\.\.$"),
        ({"names": {"png": "../elsewhere"}}, "names: each must be one plain name"),
        ({"preprocess": {"size": 100}}, "multiple of 32"),
        ({"steps": ["phantom", "index"]}, "data is set, but the phantom step makes it"),
        ({"train": {"backbones": {"convnext": "ConvNextBase"}}}, "train.backbones.convnext: .*ConvNeXtBase"),
        ({"seed": -1}, "seed: .*greater than or equal to 0, got -1"),
    ],
)
def test_errors_name_key_value_and_fix(change, message):
    with pytest.raises(ConfigError, match=message):
        validate(MINIMAL | change, "test")


def test_overrides_are_read_as_yaml(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("workspace: w\ndata: {labels: l.csv, dicom: d}\n")
    config = load(path, {"split.unit": "slice", "train.gate.threshold": "0.5", "split.fractions": "[0.6, 0.2, 0.2]"})
    assert (config.split.unit, config.train.gate.threshold, config.split.fractions) == ("slice", 0.5, (0.6, 0.2, 0.2))


def test_a_steps_own_keys_need_no_section():
    given = {"headers": "clinical", "name": "a", "data.labels": "l.csv", "phantom.rows": "256"}
    assert in_section("phantom", given) == {"phantom.headers": "clinical"} | dict(list(given.items())[1:])
    assert in_section("copy", {"mode": "link"}) == {"copy.mode": "link"}
    assert in_section("train", {"gate.threshold": "0.5"}) == {"train.gate.threshold": "0.5"}
    assert in_section("index", {"headers": "clinical"}) == {"headers": "clinical"}


def test_demo_backbones_need_no_weights_where_none_is_built():
    demo = {"backbones": {"convnext": "ConvNeXtDemo"}}
    assert validate(MINIMAL | {"train": demo | {"model": "efficientnet"}}, "test")
    assert validate(MINIMAL | {"train": demo, "steps": ["index"]}, "test")


@pytest.mark.parametrize("text", ["2024", "007", "1.10", "1_000", "2024-06-01"])
def test_a_name_is_the_text_that_was_written(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(f"workspace: {text}\ndata: {{labels: l.csv, dicom: d}}\nnames: {{png: {text}}}\nseed: 007\n")
    config = load(path, {"name": text})
    assert (config.name, config.names.png, str(config.workspace), config.seed) == (text, text, text, 7)


def test_an_empty_section_is_its_default(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("workspace: w\ndata: {labels: l.csv, dicom: d}\ntrain:\ncopy:\npreprocess:\n  red:\n")
    config = load(path)
    assert (config.train, config.copy_, config.preprocess) == (Train(), Copy(), Preprocess())
    assert load(path, {"train.gate.max_missed": "0.2"}).train == Train(gate={"max_missed": 0.2})


def test_one_end_of_a_window_keeps_the_other(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("workspace: w\ndata: {labels: l.csv, dicom: d}\n")
    assert load(path, {"preprocess.red.width": "200"}).preprocess.windows[0] == (75, 200)
    with pytest.raises(ConfigError, match="nested too deep"):
        load(path, {"seed": "[" * 5000})


def test_yaml_scientific_notation_without_a_dot(tmp_path):
    path = tmp_path / "c.yaml"  # PyYAML reads 2e-4 as text; the schema makes it a number
    path.write_text("workspace: w\ndata: {labels: l.csv, dicom: d}\ntrain: {end_to_end: {learning_rate: 2e-4}}\n")
    assert load(path).train.end_to_end.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "must hold keys"),
        ("", "must hold keys"),
        (
            "seed: 1\ntrain:\n  save_h5: true\n  weights: none\n  save_h5: false",
            "save_h5 in line 5 .* in line 3 already",
        ),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load(path)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "c.yaml")


def test_every_key_is_explained():
    keys = {key.name: key for key in config_keys()}
    assert [name for name, key in keys.items() if not key.meaning] == []
    assert keys["workspace"].default == ""
    assert keys["train.model"][1:3] == ("cascade", ("cascade", "modified-cascade", "efficientnet", "convnext"))
    assert keys["train.gate.threshold"].choices == ("number", "validation")
    assert keys["preprocess.red.center"][1:] == ("75.0", (), "Blood window. Center, HU.")
    assert keys["train.phases[].trainable"].default == ""
    assert keys["data.labels"].default == "not set"
    assert keys["copy.mode"].choices == ("copy", "link", "none")
    assert keys["augment.labels"].choices == LABELS
