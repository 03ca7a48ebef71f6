"""Long fault tests: `make soak` runs them, `make test` does not."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ich.workspace import fingerprint

STEPS = "[phantom, index, split, sample, copy, preprocess, augment]"
KILLS = 5


def start(workspace: Path, config: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "ich", "run", "-c", str(config), "--workspace", str(workspace)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def contents(workspace: Path) -> dict[str, str]:
    """Hashes of all that steps meet in; the ledgers hold paths of the workspace, so they are compared by others."""
    kept = [
        path for folder in ("raw_png", "data_train", "data_val", "data_test") for path in (workspace / folder).iterdir()
    ]
    tables = [*workspace.glob("*.csv"), workspace / "splits.json", workspace / "phantom" / "stage_2_train.csv"]
    return {str(path.relative_to(workspace)): fingerprint(path) for path in [*kept, *tables]}


@pytest.mark.soak
def test_preparation_killed_at_random_moments_ends_as_if_undisturbed(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"workspace: w\nsteps: {STEPS}\nphantom: {{patients: 9, slices: [20, 22], rows: 128, quirks: false}}\n"
        "preprocess: {size: 64}\nsplit: {fractions: [0.5, 0.25, 0.25]}\naugment: {target: 60}\n"
    )
    began = time.monotonic()
    assert start(tmp_path / "undisturbed", config).wait() == 0
    duration = time.monotonic() - began
    moments = random.Random(0)
    for _ in range(KILLS):
        process = start(tmp_path / "killed", config)
        time.sleep(moments.uniform(0.2, 0.6) * duration)
        process.kill()
        process.wait()
    process = start(tmp_path / "killed", config)
    assert process.wait() == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
