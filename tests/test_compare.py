"""What is compared with what; that it trains and evaluates is in test_end_to_end.py."""

import re

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from ich.cli import run_command
from ich.compare import _test_sample, candidates
from ich.errors import ConfigError
from ich.evaluation.statistics.comparison import compare_models
from ich.evaluation.statistics.results import Sample
from ich.evaluation.terminal import comparison_legend, comparison_markdown
from ich.labels import LABELS
from ich.workspace import Workspace
from square_slices import squares_experiment


def sample(noise: float) -> Sample:
    """200 slices of 40 patients; the less noise, the better the probabilities."""
    rng = np.random.default_rng(0)
    truth = rng.random((200, 6)) < 0.4
    p = np.clip(truth * 0.5 + 0.25 + noise * rng.standard_normal((200, 6)), 0.001, 0.999)
    return Sample(truth, p, np.zeros_like(truth), np.repeat([f"patient {i}" for i in range(40)], 5))


def compared(*samples: Sample, replicates: int = 200):
    return compare_models(samples, replicates, lambda: np.random.default_rng(1))


def test_figures_are_scikit_learns_and_differences_theirs():
    good, bad = sample(0.3), sample(0.6)
    first, second = compared(good, bad)
    assert first.differences == {}
    aucs = [roc_auc_score(each.truth[:, 0], each.probabilities[:, 0]) for each in (good, bad)]
    assert [each.figures["any AUROC"].value for each in (first, second)] == pytest.approx(aucs)
    difference = second.differences["any AUROC"]
    assert difference.value == pytest.approx(aucs[1] - aucs[0])
    assert difference.low < difference.value < difference.high < 0
    assert second.differences["weighted log loss"].low > 0
    assert second.differences["any Brier"].low > 0
    assert first.by_patient is None
    assert second.by_patient is not None
    assert second.by_patient.value < 0


def test_the_same_predictions_differ_by_nothing():
    _, second = compared(sample(0.4), sample(0.4))
    assert all(figure.value == 0 and figure.reason for figure in second.differences.values())


def test_a_difference_is_surer_than_either_figure():
    first, second = compared(sample(0.40), sample(0.42))
    widths = [figure.high - figure.low for figure in (first.figures["any AUROC"], second.differences["any AUROC"])]
    assert widths[1] < widths[0] / 2


def test_a_label_of_one_class_has_a_reason():
    alone = sample(0.4)
    alone.truth[:, 3] = False
    first, second = compared(alone, alone)
    assert first.figures["mean AUROC"].reason == "positives only, or none, of intraventricular"
    assert np.isnan(second.differences["mean AUROC"].value)
    assert np.isfinite(first.figures["any AUROC"].value)


def test_the_table_has_a_row_a_model():
    rows = [
        {
            "model": model, "parameters": parameters, "seconds": 90.0,
            "stages": [{"images_per_s": speed} for speed in speeds],
            "figures": {name: figure.as_json() for name, figure in each.figures.items()},
            "differences": {name: figure.as_json() for name, figure in each.differences.items()},
            "by_patient": each.by_patient and each.by_patient.as_json(),
        }
        for model, parameters, speeds, each in zip(
            ("cascade", "convnext"), (1_234_567, None), ((100.4, 50.0), (None,)), compared(sample(0.3), sample(0.6)),
            strict=True,
        )
    ]  # fmt: skip
    lines = comparison_markdown({"candidates": rows, "test_slices": 200, "test_patients": 40, "phantom": True})
    assert lines[2].startswith("| cascade | 1.23 M | 1.5 min | 100 / 50 | ")
    assert lines[2].endswith("| – | – | – |")
    assert lines[3].startswith("| convnext | – | 1.5 min | – | ")
    assert len({line.count("|") for line in lines[:4]}) == 1
    assert re.fullmatch(
        r"any AUROC by patient, convnext minus cascade: -0\.\d+ \[.*\], p = [\d.e-]+ \(DeLong\)", lines[6]
    )
    assert lines[-1] == "Phantom data: these figures say nothing about patients."


def test_one_patient_is_not_patients():
    (line, *_) = comparison_legend({"candidates": [], "test_slices": 1, "test_patients": 1, "phantom": False})
    assert line.startswith("1 test slice of 1 patient, one training each")


def test_what_is_compared_is_what_each_report_shows(tmp_path):
    config = squares_experiment(tmp_path)
    rows = {"split": ["val", "test"], "ImageID": ["a", "b"], "patient": ["p", "q"], "series": ["s", "t"]}
    rows |= {f"label_{label}": [0, 1] for label in LABELS} | {"gated_in": [True, True]}
    for column, label in enumerate(LABELS):
        rows |= {f"probability_{label}": [0.9, 0.9], f"calibrated_{label}": [0.5, column / 10]}
    Workspace(config).predictions.parent.mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(Workspace(config).predictions)
    assert _test_sample(config).probabilities.tolist() == [[0, 0.1, 0.2, 0.3, 0.4, 0.5]]


def test_each_model_is_a_run_with_models_of_its_own(tmp_path):
    first, second = candidates(squares_experiment(tmp_path), ["convnext", "cascade"])
    assert (first.name, first.model_folder, first.train.model) == (
        "default-convnext", "models/default-convnext", "convnext",
    )  # fmt: skip
    assert second.train.model_copy(update={"model": "convnext"}) == first.train


@pytest.mark.parametrize(
    ("models", "change", "message"),
    [
        (["cascade"], {}, "two or more models, each once, got cascade"),
        (["cascade", "convnext", "cascade"], {}, "each once"),
        (["efficientnet", "convnext"], {"evaluate": {"models": ["a.keras"]}}, r"leave evaluate\.models and"),
        (
            ["efficientnet", "convnext"],
            {"train": {"model": "efficientnet", "weights": "imagenet",
                       "backbones": {"efficientnet": "EfficientNetV2B0", "convnext": "ConvNeXtDemo"}}},
            "--compare convnext: .*ConvNeXtDemo has no published weights",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_trained(tmp_path, models, change, message):
    config = squares_experiment(tmp_path)
    for section, values in change.items():
        section_config = getattr(config, section)
        changed = type(section_config).model_validate(section_config.model_dump() | values)
        config = config.model_copy(update={section: changed})
    with pytest.raises(ConfigError, match=message):
        candidates(config, models)


def test_options_that_exclude_each_other_are_refused(config_file, capsys):
    options = ["train", "-c", str(config_file()), "--compare", "cascade", "convnext"]
    assert run_command([*options, "--dry-run"]) == 2
    assert run_command([*options, "--process-id", "1"]) == 2
    assert "exclude each other" in capsys.readouterr().err
