"""The whole config: every section, and what must hold between them."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ich.config.preparation import Augment, Copy, Data, Index, Names, Phantom, Preprocess, Sample, Split
from ich.config.section import Count, Fraction, Section, UserPath
from ich.config.training import Train

StepName = Literal[
    "phantom", "index", "sample", "copy", "preprocess", "split", "augment", "datacard", "train", "evaluate"
]  # fmt: skip


class Evaluate(Section):
    """Metrics, figures, report."""

    threshold: Fraction | Literal["youden", "sensitivity", "specificity", "f1"] = Field(
        "youden",
        description="Decision threshold of every label, or the rule that chooses each label's on validation data: "
        "`youden` (largest sensitivity + specificity), `sensitivity` (at least 0.95, the largest such threshold), "
        "`specificity` (at least 0.95, the smallest), `f1` (largest F1).",
    )
    local_prevalence: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="Share of scans with haemorrhage where the model will be used: PPV, NPV and alerts per 100 scans "
        "are told for it too.",
    )
    bootstrap: Count = Field(2_000, description="Replicates over patients for the 95 % intervals; 0: no intervals.")
    examples: Count = Field(24, description="Test slices shown in the report with their probabilities.")
    mistakes: Count = Field(
        4,
        description="Errors shown in the report: of each label, so many false positives, false negatives, and others.",
    )
    calibration: Literal["validation", "none"] = Field(
        "validation",
        description="`validation`: P(any) and P(subtype | any) are calibrated on validation data; none: never.",
    )
    predictions: UserPath | None = Field(
        None,
        description="CSV or Parquet file of probabilities from elsewhere, which are evaluated instead of a model's, "
        "under a `name` that no training has.",
    )
    compare_with: UserPath | None = Field(
        None,
        description="CSV or Parquet file of probabilities of the same test slices: the report has the differences.",
    )
    ungated: bool = Field(
        True,
        description="Run stage 2 of a cascade on all held-out slices too, to say what its gate costs; false: only on "
        "what the gate lets through.",
    )
    models: tuple[UserPath, ...] = Field(
        (),
        description="Model files whose mean is evaluated, under a `name` that no training has, instead of the trained "
        "model; none: the workspace's final model.",
    )

    @property
    def of_others(self) -> bool:
        """Whether something else is evaluated than the model that is trained here."""
        return bool(self.models) or self.predictions is not None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.models and self.predictions is not None:
            raise ValueError("evaluate.models and evaluate.predictions are both given: evaluate one of them")
        return self

    @field_validator("models", mode="before")
    @classmethod
    def _one_needs_no_brackets(cls, models: Any) -> Any:
        return (models,) if isinstance(models, str | Path) else models


class Experiment(Section):
    """The whole file."""

    workspace: UserPath = Field(description="Folder that everything is written to.")
    name: str = Field(
        "default", description="Name of the training run; its folder is runs/<name>.", pattern=r"^[\w-][\w.-]*$"
    )
    model_folder: str = Field(
        "models",
        description="Folder of the workspace that the trained models are saved in: models, or one in it, e.g. "
        "models/b, so that the models of another run stay.",
        pattern=r"^models(/[\w-][\w.-]*)?$",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(42, description="Seed of everything random.")
    steps: tuple[StepName, ...] = Field(
        ("index", "split", "sample", "copy", "preprocess", "augment", "datacard", "train", "evaluate"),
        description="What `ich run` does, in this order.",
    )
    names: Names = Names()
    executor: Literal["processes", "ray"] = Field(
        "processes",
        description="What works through many files: processes of this machine, or a Ray cluster (of which this machine "
        "is a part if RAY_ADDRESS is set or `ray start` was run here; else one is started here).",
    )
    data: Data = Data()
    index: Index = Index()
    phantom: Phantom = Phantom()
    sample: Sample = Sample()
    copy_: Copy = Field(Copy(), alias="copy")  # BaseModel has a method `copy`
    preprocess: Preprocess = Preprocess()
    split: Split = Split()
    augment: Augment = Augment()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def _order_makes_sense(self) -> Self:
        steps = self.steps
        if not steps:
            raise ValueError("steps is empty: name at least one step, or leave steps out for all of them")
        if len(set(steps)) != len(steps):
            raise ValueError(f"steps: each step can stand only once, got {list(steps)}")
        for earlier, later in (
            ("phantom", "index"),
            ("sample", "copy"),
            ("copy", "preprocess"),
            ("preprocess", "augment"),
            ("split", "augment"),
            ("augment", "train"),
            ("preprocess", "train"),
            ("split", "train"),
            ("phantom", "sample"),
            ("phantom", "split"),
            ("phantom", "copy"),
            ("index", "train"),
            ("train", "evaluate"),
            ("preprocess", "datacard"),
            ("split", "datacard"),
            ("augment", "datacard"),
            ("datacard", "train"),
        ):
            if earlier in steps and later in steps and steps.index(earlier) > steps.index(later):
                raise ValueError(f"steps: {earlier} must come before {later}, got {list(steps)}")
        split_first = "sample" not in steps or ("split" in steps and steps.index("split") < steps.index("sample"))
        if self.sample.scope == "train" and not split_first:
            raise ValueError(
                "sample.scope is train, so split must come before sample in steps (or set sample.scope: all)"
            )
        if (
            split_first
            and self.split.unit == "patient"
            and "split" in steps
            and "index" not in steps[: steps.index("split")]
        ):
            raise ValueError("split.unit is patient and split comes first, so index must come before it in steps")
        if split_first and "split" in steps and self.sample.scope == "all" and "sample" in steps:
            raise ValueError(
                "sample.scope is all, so sample must come before split in steps (or set sample.scope: train)"
            )
        return self

    @model_validator(mode="after")
    def _has_input(self) -> Self:
        if "phantom" in self.steps and (self.data.labels or self.data.dicom):
            raise ValueError("data is set, but the phantom step makes it: take phantom out of steps, or leave data out")
        if "train" in self.steps and (self.preprocess.size % 32 or self.preprocess.size < 64):
            raise ValueError(
                f"preprocess.size must be a multiple of 32, from 64 on, for the networks; got {self.preprocess.size}"
            )
        if "phantom" not in self.steps and (self.data.labels is None or not self.data.sources):
            missing = "data.labels" if self.data.labels is None else "data.dicom"
            raise ValueError(f"{missing} is not set and there is no phantom step: give its path, e.g. --{missing} PATH")
        return self

    @model_validator(mode="after")
    def _neighbours_can_be_there(self) -> Self:
        before_sample = self.steps[: self.steps.index("sample")] if "sample" in self.steps else self.steps
        if self.sample.whole_series and "index" not in before_sample:
            raise ValueError(
                "sample.whole_series is true, so index, which tells what a series holds, must come before sample in "
                "steps (or set sample.whole_series: false)"
            )
        if self.train.input == "windows":
            return self
        wrong = None
        if "index" not in self.steps:
            wrong = "index, which tells what a series holds, is not in steps; add it"
        elif self.split.unit == "slice":
            wrong = "split.unit is slice, and a neighbour could be in another split; set split.unit: patient"
        elif "augment" in self.steps and self.augment.target:
            wrong = (
                f"augment.target is {self.augment.target}, and neighbours of augmented images are not augmented; set "
                "augment.target: 0 (train.sampling: balanced draws rare classes more often)"
            )
        if wrong:
            raise ValueError(f"train.input is neighbours, but {wrong}, or train.input: windows")
        return self

    @model_validator(mode="after")
    def _weights_fit_the_backbones(self) -> Self:
        demo = [name for name in self.train.used_backbones if name.endswith("Demo")]
        if "train" in self.steps and demo and self.train.weights == "imagenet":
            raise ValueError(
                f"train.weights is {self.train.weights}, but {demo[0]} has no published weights: "
                "set train.weights: none"
            )
        return self
