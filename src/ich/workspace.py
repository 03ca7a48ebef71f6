"""The folder that an experiment lives in: its paths, and the record of what each step did."""

import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ich.config import Experiment
from ich.files import sweep_half_written

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
NOT_FINITE = "not_finite.json"  # in a run's folder: where its loss became infinite or undefined, and it stopped
RECORDED_PACKAGES = ("ich", "keras", "jax", "numpy", "pydicom", "opencv-python-headless", "polars", "scikit-learn")


@dataclass(frozen=True)
class Workspace:
    """Paths of every file that stages meet in (ARCHITECTURE.md tells which step writes which)."""

    config: Experiment

    @property
    def root(self) -> Path:
        """The workspace folder."""
        return self.config.workspace

    @property
    def label_csv(self) -> Path:
        """Label CSV in long format: the user's, what `label_file.py` fetched of it, or the phantom's."""
        labels = self.config.data.labels
        if labels is None:
            return self.phantom / "stage_2_train.csv"
        return self.fetched / Path(labels).name if self.fetches_labels else Path(labels)

    @property
    def fetched(self) -> Path:
        """Folder of a label CSV that has a URL or is in a zip file."""
        return self.root / "labels"

    @property
    def fetches_labels(self) -> bool:
        """Whether the label CSV is no file of its own, but has a URL or is in a zip file."""
        labels = self.config.data.labels or ""
        return "://" in labels or any(
            folder.suffix.lower() == ".zip" and folder.is_file() for folder in Path(labels).parents
        )

    @property
    def originals(self) -> tuple[str, ...]:
        """Where the DICOM files are that everything begins with: the user's, or the phantom's."""
        return self.config.data.sources or (str(self.phantom / "stage_2_train"),)

    @property
    def phantom(self) -> Path:
        """Folder of the phantom data set."""
        return self.root / "phantom"

    @property
    def index(self) -> Path:
        """Headers of all DICOM files, a row a file."""
        return self.root / "index.parquet"

    @property
    def sampled(self) -> Path:
        """Step 1: chosen slices."""
        return self.root / self.config.names.sampled

    @property
    def copies(self) -> Path:
        """Step 2: folder of the copied or linked DICOM files."""
        return self.root / self.config.names.dicom

    @property
    def dicom(self) -> tuple[str, ...]:
        """Where the DICOM files are read after step 2: the workspace's copies or links, or the originals in place."""
        return self.originals if self.config.copy_.mode == "none" else (str(self.copies),)

    @property
    def png(self) -> Path:
        """Step 3: folder of RGB PNG files."""
        return self.root / self.config.names.png

    @property
    def slices(self) -> Path:
        """Step 3: the ledger, a row for every slice that was asked for."""
        return self.root / "slices.parquet"

    @property
    def splits(self) -> Path:
        """Step 4: who is in which split."""
        return self.root / "splits.json"

    def table(self, split: SplitName) -> Path:
        """Steps 4 and 5: ImageID and labels of a split."""
        return self.root / f"{getattr(self.config.names, split)}.csv"

    def images(self, split: SplitName) -> Path:
        """Steps 4 and 5: folder of a split's PNG files."""
        return self.root / str(getattr(self.config.names, split))

    @property
    def data_card(self) -> Path:
        """Page that says what the prepared data are; the same figures lie beside it, ending in .json."""
        return self.root / "data_card.html"

    @property
    def models(self) -> Path:
        """Step 6: saved models."""
        return self.root / self.config.model_folder

    @property
    def final_model(self) -> Path:
        """Step 6: the model that is evaluated and used; its card lies beside it, ending in .json."""
        model = self.config.train.model
        return self.models / f"{'cascade' if model.endswith('cascade') else model}_final.keras"

    @property
    def run(self) -> Path:
        """History, TensorBoard events, predictions and report of this training run."""
        return self.root / "runs" / self.config.name

    @property
    def checkpoints(self) -> Path:
        """Folder of the training in progress, from which it goes on after it was killed."""
        return self.run / "checkpoints"

    @property
    def compiled(self) -> Path:
        """What JAX compiled; can be deleted at any time."""
        return self.root / "compiled"

    @property
    def predictions(self) -> Path:
        """Probabilities for every validation and test slice."""
        return self.run / "predictions.parquet"

    @property
    def report(self) -> Path:
        """Folder of the evaluation report."""
        return self.run / "report"

    @property
    def parts(self) -> Path:
        """Finished chunks of steps that work in chunks."""
        return self.root / "parts"

    @property
    def records(self) -> Path:
        """What each step did, from what, with which versions."""
        return self.root / "records"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder that steps fill, clear or remove, or may; and what lies in those that hold others."""
        top = (
            self.fetched, self.phantom, self.copies, self.png, *(self.images(split) for split in SPLITS),
            self.models.parent, self.models, self.compiled, self.run.parent, self.run, self.parts, self.records,
        )  # fmt: skip
        holders = (self.phantom, self.parts, self.run, self.run / "tensorboard")
        return (*top, *(inner for folder in holders for inner in folder.glob("*")))


@dataclass
class Outcome:
    """What a step did: counts for the user's table, and whether some inputs were left out."""

    counts: dict[str, Any] = field(default_factory=dict)
    outputs: list[Path] = field(default_factory=list)
    rewritten: list[Path] = field(default_factory=list)  # outputs that a later step changes: looked for, not compared
    incomplete: bool = False  # exit code 3: inputs were quarantined or missing, and are listed in `notes`
    notes: list[str] = field(default_factory=list)


def remove_half_written(workspace: Workspace) -> None:
    """Remove what killed commands were writing; nobody else may work in the workspace.

    Folders of images, and of parts, are swept by the steps that fill them.
    """
    for folder in (
        workspace.root, workspace.fetched, workspace.phantom, workspace.records, workspace.models, workspace.run,
    ):  # fmt: skip
        sweep_half_written(folder)


def provenance() -> dict[str, Any]:
    """Versions, git commit, time and command, to save beside an output."""
    return {
        "command": shlex.join(["ich", *sys.argv[1:]]),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "versions": {name: version for name in RECORDED_PACKAGES if (version := _version(name))},
        "git_commit": _git_commit(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Commit of the source tree that this runs from; None where it is not a git checkout."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
