from pathlib import Path

import pytest

from ich.config import Train
from ich.config.read import load
from ich.info import disk_need, images_needed, training_need

CONFIGS = Path(__file__).parents[1] / "configs"
# Stage-2 training set of the competition.
POSITIVES = {
    "any": 107_933, "epidural": 3_145, "intraparenchymal": 36_118, "intraventricular": 26_205, "subarachnoid": 35_675,
    "subdural": 47_166,
}  # fmt: skip
SLICES = 752_803


def test_images_of_the_competition():
    rsna = images_needed(POSITIVES, SLICES, load(CONFIGS / "rsna.yaml"))
    # 80 % of the positives, 90,000 negatives, a fifth of all slices for validation and test, and epidural copies
    assert rsna == pytest.approx(0.8 * 107_933 + 90_000 + 0.2 * 752_803 + 8_000 - 0.8 * 3_145, abs=1)
    everything = load(CONFIGS / "rsna.yaml", {"sample.negatives": "0", "augment.target": "0"})
    assert images_needed(POSITIVES, SLICES, everything) == SLICES


def test_the_notebooks_sample_is_bounded_by_what_can_be_drawn():
    reference = load(CONFIGS / "reference.yaml", {"augment.target": "0"})
    assert images_needed(POSITIVES, SLICES, reference) == 6 * 10_000 + 10_000


def test_disk_need_of_phantoms_counts_their_dicom_files(tmp_path):
    config = load(CONFIGS / "demo.yaml", {"workspace": str(tmp_path / "w"), "phantom.patients": "100"})
    need = disk_need(config)
    assert need == 100 * 23 * (526_000 + 52_000 // 4)


def test_training_needs_checkpoints_and_models():
    efficientnet, convnext = 53.15e6 * 4, 87.57e6 * 4  # bytes
    cascade = 2 * efficientnet + convnext
    models = efficientnet + (efficientnet + convnext) + 2 * cascade  # three checkpoints of stages, and the final one
    # Network, two moments, best weights: 3.1 GB, of which three exist while one is written.
    assert training_need(Train()) == pytest.approx(3 * 4 * cascade + models, rel=0.01)
    flat = Train(model="convnext", ema=0.999, save_h5=True)
    assert training_need(flat) == pytest.approx((3 * 5 + 3) * convnext, rel=0.01)
