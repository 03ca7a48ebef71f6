"""kill -9 at any moment of a step, its workers and decoders with it: run again, the step ends as if undisturbed."""

import contextlib
import json
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from runs import run, run_here, start

from ich.files import fingerprint

STEPS = ("phantom", "index", "split", "sample", "copy", "preprocess", "augment", "datacard")
CHUNK = 16
IN_A_ROW = 3  # kills of one step before it may end
# Where the files of a step's finished parts lie.
MADE = {"phantom": "phantom/stage_2_train/{}.dcm", "preprocess": "raw_png/{}.png", "augment": "data_train/{}.png"}

Run = Callable[[list[str], Path, int], tuple[int, str, float]]


class Undisturbed:
    """A data set prepared once, step by step: what there was before each step, how long it took, what there was after.

    The workspace has a relative name, so that two of them hold the same paths.
    """

    def __init__(self, folder: Path, patients: int, target: int, run: Run) -> None:
        self.run, self.before, self.seconds, self.after = run, {}, {}, {}
        self.config = folder / "config.yaml"
        self.config.write_text(
            f"workspace: w\nsteps: [{', '.join(STEPS)}]\n"
            f"phantom: {{patients: {patients}, slices: [8, 10], rows: 128}}\n"
            "index: {hash: true}\ncopy: {mode: copy}\npreprocess: {size: 64, workers: 2}\n"
            f"split: {{fractions: [0.5, 0.25, 0.25]}}\naugment: {{target: {target}}}\n"
        )
        (folder / "calm" / "w").mkdir(parents=True)
        for step in STEPS:
            self.before[step] = folder / f"before-{step}"
            shutil.copytree(folder / "calm" / "w", self.before[step], symlinks=True)
            code, said, self.seconds[step] = run(self.arguments(step), folder / "calm", CHUNK)
            assert code in (0, 3), said
            self.after[step] = contents(folder / "calm" / "w")

    def arguments(self, step: str) -> list[str]:
        return [step, "-c", str(self.config)]


def contents(workspace: Path) -> dict[str, str]:
    """Everything in a workspace, hidden files too; of records and parts, whose names hold times, only how many."""
    found = {}
    for path in sorted(workspace.rglob("*")):
        name = path.relative_to(workspace).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.name == "data_card.json":
            found[name] = json.dumps(json.loads(path.read_text()) | {"provenance": None})
        elif path.is_file() and not name.startswith(("parts/", "records/")) and path.name != "data_card.html":
            found[name] = fingerprint(path)
    parts = Counter(path.parent.name for path in workspace.glob("parts/*/*"))
    return found | {f"parts of {step}": str(count) for step, count in parts.items()}


def finished(workspace: Path, step: str) -> dict[Path, tuple[int, int]]:
    """Inode and time of all that a killed step had finished: its parts, what these speak of, verified copies."""
    parts = [path for path in workspace.glob(f"parts/{step}/*.parquet") if not path.name.startswith(".")]
    made = [workspace / MADE[step].format(name) for part in parts if step in MADE
            for name in pl.read_parquet(part, glob=False)["ImageID"]]  # fmt: skip
    copies = [path for path in workspace.glob("raw_dicom/*") if not path.name.startswith(".")] if step == "copy" else []
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (*parts, *made, *copies) if path.is_file()}


def kill_and_compare(calm: Undisturbed, step: str, kills: int, where: Path) -> None:
    """Kill a step so many times at moments drawn over its duration; after some, let it end, and compare."""
    moments, workspace, killed = random.Random(f"{step} {kills}"), where / "w", 0
    arguments, seconds = calm.arguments(step), calm.seconds[step]
    for _ in range(4 + 4 * kills):  # a run that ended before its moment came is none of the kills
        shutil.rmtree(where, ignore_errors=True)
        shutil.copytree(calm.before[step], workspace, symlinks=True)
        kept: dict[Path, tuple[int, int]] = {}
        for _ in range(min(IN_A_ROW, kills - killed)):
            command = start(arguments, where, CHUNK)
            with contextlib.suppress(subprocess.TimeoutExpired):
                command.process.wait(moments.uniform(0, seconds))
            was_running = command.kill()
            killed += was_running
            assert kept.items() <= finished(workspace, step).items()
            kept = finished(workspace, step)
            if not was_running:
                seconds *= 0.8  # it was measured in a slower moment
                break
        code, said, _ = calm.run(arguments, where, CHUNK)
        assert code in (0, 3), said
        assert contents(workspace) == calm.after[step]
        assert kept.items() <= finished(workspace, step).items()
        assert [path for path in workspace.rglob(".*") if path.name != ".lock"] == []
        if killed >= kills:
            return
    pytest.fail(f"{step}: only {killed} of {kills} runs were killed before they ended")


def test_killed_steps_end_as_if_undisturbed(tmp_path):
    calm = Undisturbed(tmp_path, patients=9, target=8, run=run_here)
    for step in STEPS:
        kill_and_compare(calm, step, 2 if step == "preprocess" else 1, tmp_path / "killed")


@pytest.mark.soak
@pytest.mark.parametrize("step", STEPS)
def test_a_step_killed_at_25_moments_ends_as_if_undisturbed(step, tmp_path):
    calm = Undisturbed(tmp_path, patients=24, target=400, run=run)
    kill_and_compare(calm, step, 25, tmp_path / "killed")


@pytest.mark.soak
def test_a_run_whose_first_process_alone_is_killed_ends_as_if_undisturbed(tmp_path):
    """Workers may outlive it for a moment, while the next run begins."""
    calm = Undisturbed(tmp_path, patients=24, target=60, run=run)
    moments, where, arguments = random.Random(0), tmp_path / "killed", ["run", "-c", str(calm.config)]
    (where / "w").mkdir(parents=True)
    for _ in range(25):
        command = start(arguments, where, CHUNK)
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.process.wait(moments.uniform(0.2, 1) * max(calm.seconds.values()))
        command.kill(alone=True)
    code, said, _ = run(arguments, where, CHUNK)
    assert code in (0, 3), said
    assert contents(where / "w") == calm.after["datacard"]
    assert [path for path in (where / "w").rglob(".*") if path.name != ".lock"] == []


def test_of_two_commands_at_once_the_second_names_the_first(tmp_path):
    calm = tmp_path / "config.yaml"
    calm.write_text("workspace: w\nsteps: [phantom]\nphantom: {patients: 2000, rows: 128}\n")
    first = start(["phantom", "-c", str(calm)], tmp_path)
    lock = tmp_path / "w" / "records" / ".lock"
    try:
        while not (lock.is_file() and lock.read_text().endswith("\n")):
            time.sleep(0.01)
        code, said, _ = run(["run", "--seed", "7", "-c", str(calm)], tmp_path)
        assert code == 1
        assert said.startswith(f"ich: another command works in workspace w (process {first.process.pid} on ")
        assert said.count("\n") == 1
    finally:
        assert first.kill()
    one = ["phantom", "-c", str(calm), "--phantom.patients", "1", "--preprocess.workers", "1"]
    assert run_here(one, tmp_path)[0] == 0  # a lock does not outlive who held it
