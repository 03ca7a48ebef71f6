"""One YAML file describes a whole experiment; this module is its schema, `ich.config_file` reads it.

Every model is frozen and refuses unknown keys. A field's description is its documentation (`ich config --explain`
prints them); units stand in the description. Defaults are our own best choices (`configs/rsna.yaml`); the notebooks'
protocol is `configs/reference.yaml`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ich.labels import SUBTYPES, Label

Fraction = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0, le=1)]

StepName = Literal["phantom", "index", "sample", "copy", "preprocess", "split", "augment", "train", "evaluate"]


def _number_as_text(value: Any) -> Any:
    """`--workspace 2024`: pydantic can take a number as text, but not as a path."""
    return str(value) if type(value) in (int, float) else value


UserPath = Annotated[Path, BeforeValidator(_number_as_text), AfterValidator(Path.expanduser)]


class Section(BaseModel):
    """A part of the config: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False,
        coerce_numbers_to_str=True,  # --name 2024
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _empty_section_is_its_default(cls, values: Any) -> Any:
        """YAML reads `train:` with nothing under it as null."""
        if not isinstance(values, dict):
            return values
        sections = {
            field.alias or name for name, field in cls.model_fields.items() if isinstance(field.default, Section)
        }
        return {key: value for key, value in values.items() if value is not None or key not in sections}


class Names(Section):
    """Names of files and folders in the workspace."""

    sampled: str = Field("data_sampled.csv", description="Step 1: the chosen slices and their six labels.")
    dicom: str = Field("raw_dicom", description="Step 2: folder of the copied or linked DICOM files.")
    png: str = Field("raw_png", description="Step 3: folder of the RGB PNG files.")
    train: str = Field("data_train", description="Steps 4 and 5: stem of the training table (.csv) and its folder.")
    val: str = Field("data_val", description="Step 4: stem of the validation table and its folder.")
    test: str = Field("data_test", description="Step 4: stem of the test table and its folder.")

    @model_validator(mode="after")
    def _plain_and_different(self) -> Self:
        names = list(dict(self).values())
        for name in names:
            if name in ("", ".", "..") or "/" in name or "\\" in name:
                raise ValueError(f"names: each must be one plain name inside the workspace, got {name!r}")
        ours = {"phantom", "parts", "records", "models", "runs"}
        if taken := ours & set(names):
            raise ValueError(f"names: {min(taken)} is the name of another folder of the workspace; choose another")
        if len(set(names)) != len(names):
            raise ValueError(f"names: each must be different, got {names}")
        return self


class Data(Section):
    """Where the input is. Both are left out when the `phantom` step makes it."""

    labels: UserPath | None = Field(None, description="Label CSV in the competition's long format (columns ID,Label).")
    dicom: UserPath | None = Field(None, description="Folder with one DICOM file a slice, named <ImageID>.dcm.")


class Phantom(Section):
    """Synthetic head CT to try the pipeline on."""

    patients: Positive = Field(200, description="Number of patients; each has one series.")
    slices: tuple[Positive, Positive] = Field((20, 40), description="Fewest and most slices of a series.")
    prevalence: Literal["rsna", "enriched"] = Field(
        "enriched", description="Share of patients with a bleed: as in the RSNA 2019 data, or about half of them."
    )
    headers: Literal["rsna", "clinical"] = Field(
        "rsna", description="DICOM headers as the RSNA files have them (stripped, invalid UIDs) or as a scanner writes."
    )
    quirks: bool = Field(True, description="Give the files the faults and oddities of the real data.")
    rows: Literal[128, 256, 512] = Field(512, description="Rows and columns of a slice, in pixels.")
    masks: bool = Field(False, description="Keep the lesion masks as PNG files beside the DICOM files.")

    @model_validator(mode="after")
    def _fewest_first(self) -> Self:
        if self.slices[0] > self.slices[1]:
            raise ValueError(f"phantom.slices: the fewest come first, got {list(self.slices)}")
        return self


class Sample(Section):
    """Step 1: which slices are used."""

    per_label: Count = Field(10_000, description="Positive slices drawn for each of the six labels; 0 takes all.")
    negatives: Count = Field(10_000, description="Slices drawn with any = 0; 0 takes all.")
    scope: Literal["all", "train"] = Field(
        "train",
        description="Sample from all slices (the notebooks), or only from the training split; validation and test "
        "then keep every slice, hence the natural prevalence.",
    )


class Copy(Section):
    """Step 2: the chosen DICOM files are brought into the workspace."""

    mode: Literal["copy", "link", "none"] = Field(
        "none", description="Copy the files, make symbolic links, or read them where they are."
    )
    threads: Positive = Field(8, description="Files copied at the same time.")
    verify: Literal["size", "sha256"] = Field("size", description="How a copy is compared with its original.")


class Window(Section):
    """A display window, LINEAR_EXACT (DICOM PS3.3 C.11.2.1.3.2)."""

    center: float = Field(description="HU")
    width: float = Field(gt=0, description="HU")


class Preprocess(Section):
    """Step 3: DICOM to RGB PNG. Each channel is one window; windows first, then the area resize."""

    size: Annotated[int, Field(ge=32, le=1024)] = Field(256, description="Rows and columns of the PNG, in pixels.")
    red: Window = Field(Window(center=75, width=215), description="Blood window.")
    green: Window = Field(Window(center=40, width=80), description="Brain window.")
    blue: Window = Field(Window(center=600, width=2800), description="Bone window.")
    aspect: Literal["pad", "stretch"] = Field(
        "pad", description="A slice that is not square is padded with air, or stretched (the notebooks)."
    )
    workers: Count = Field(0, description="Processes; 0 is one for each CPU core.")

    @property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """(center, width) in HU of the red, green and blue channel."""
        return tuple((window.center, window.width) for window in (self.red, self.green, self.blue))


class Split(Section):
    """Step 4: training, validation and test."""

    unit: Literal["patient", "slice"] = Field(
        "patient", description="What is kept in one split. `slice` (the notebooks) leaks: neighbours end up apart."
    )
    fractions: tuple[float, float, float] = Field((0.8, 0.1, 0.1), description="Training, validation, test; sum 1.")

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if abs(sum(self.fractions) - 1) > 1e-6 or min(self.fractions) <= 0:
            raise ValueError(f"split.fractions must be positive and sum to 1, got {list(self.fractions)}")
        return self


class OfflineAugmentation(Section):
    """Transforms of step 5: probability and strength of each."""

    horizontal_flip: Fraction = Field(0.5, description="Probability.")
    vertical_flip: Fraction = Field(0.3, description="Probability.")
    rotate: Fraction = Field(0.5, description="Probability of a rotation.")
    rotate_degrees: float = Field(15, ge=0, le=180, description="Uniform in +- this angle.")
    brightness_contrast: Fraction = Field(0.3, description="Probability of a change of brightness and contrast.")
    brightness: Fraction = Field(0.2, description="Shift, uniform in +- this share of the full range.")
    contrast: Fraction = Field(0.2, description="Gain, uniform in 1 +- this.")
    blur: Fraction = Field(0.2, description="Probability of a Gaussian blur.")
    blur_kernel: tuple[int, int] = Field((3, 5), description="Smallest and largest kernel, odd, in pixels.")
    elastic: Fraction = Field(0.3, description="Probability of an elastic deformation.")
    elastic_alpha: float = Field(30, ge=0, description="Scale of the displacement field, in pixels (albumentations).")
    elastic_sigma: float = Field(5, gt=0, description="Smoothing of the displacement field, in pixels.")
    shift: Fraction = Field(0, description="Uniform in +- this share of the image, along rows and columns.")

    @model_validator(mode="after")
    def _kernels_are_odd(self) -> Self:
        smallest, largest = self.blur_kernel
        if not (1 <= smallest <= largest and smallest % 2 and largest % 2):
            raise ValueError(f"blur_kernel must be two odd numbers, the smaller first, got {list(self.blur_kernel)}")
        return self


class Augment(Section):
    """Step 5: copies of minority-class training images, changed a little."""

    target: Count = Field(8_000, description="Positives of each label of `labels` after augmentation; 0 adds none.")
    labels: tuple[Label, ...] = Field(SUBTYPES, description="Labels that are brought up to the target.")
    transforms: OfflineAugmentation = OfflineAugmentation()


class TrainingAugmentation(OfflineAugmentation):
    """The same transforms with other defaults, drawn anew for each image and epoch, inside the training step."""

    vertical_flip: Fraction = Field(0, description="Probability.")
    rotate: Fraction = Field(1, description="Probability of a rotation.")
    rotate_degrees: float = Field(10, ge=0, le=180, description="Uniform in +- this angle.")
    brightness_contrast: Fraction = Field(0, description="Probability of a change of brightness and contrast.")
    blur: Fraction = Field(0, description="Probability of a Gaussian blur.")
    elastic: Fraction = Field(0, description="Probability of an elastic deformation.")
    shift: Fraction = Field(0.1, description="Uniform in +- this share of the image, along rows and columns.")


class Backbones(Section):
    """Networks by name: a Keras family member, or the demo-scale member of the family."""

    efficientnet: Literal[
        "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3",
        "EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L", "EfficientNetV2Demo",
    ] = "EfficientNetV2M"  # fmt: skip
    convnext: Literal[
        "ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge", "ConvNeXtDemo"
    ] = "ConvNeXtBase"


class Heads(Section):
    """Layers on top of the backbones."""

    gate_units: Positive = Field(512, description="Dense units of the gate and of the flat models.")
    gate_dropout: Rate = Field(0.3, description="Dropout before and after the gate's dense layer.")
    subtype_units: Positive = Field(1024, description="Dense units of the subtype stage.")
    subtype_dropout: Rate = Field(0.4, description="Dropout after the subtype stage's dense layer.")
    attention_width: Positive = Field(256, description="Width that both feature maps are projected to.")
    attention_heads: Positive = Field(4, description="Heads of the cross-attention.")
    l2: float = Field(0, ge=0, description="L2 penalty on the kernels of the heads' dense layers.")


class Loss(Section):
    """Binary cross-entropy, weighted."""

    class_weights: Literal["balanced", "none"] = Field(
        "balanced", description="`balanced`: n / (2 n_class) for each label's positives and negatives."
    )
    label_weights: dict[Label, float] = Field({}, description="Factor on one label's loss, e.g. {epidural: 2}.")
    focal_gamma: float = Field(0, ge=0, description="Focal loss exponent; 0 is plain cross-entropy.")


class Phase(Section):
    """One run of `fit`."""

    name: str
    epochs: Count = Field(description="At most; early stopping may end it sooner. 0 leaves the phase out.")
    learning_rate: LearningRate
    trainable: Literal["heads", "top", "all"] = Field(
        description="`heads`: backbones frozen, batch-norm statistics too. `top`: heads and the last resolution of "
        "each backbone. `all`: everything."
    )


class EndToEnd(Section):
    """Both stages together on the soft product P(any) P(subtype | any), with the competition's loss."""

    epochs: Count = Field(5, description="0 leaves it out.")
    learning_rate: LearningRate = 1e-6


class EarlyStopping(Section):
    """Stops a phase and restores its best weights."""

    patience: Positive = Field(10, description="Epochs without a better validation loss.")


class Plateau(Section):
    """Lowers the learning rate when the validation loss stands still."""

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Positive = Field(5, description="Epochs.")
    min_learning_rate: float = Field(1e-7, ge=0)


class Gate(Section):
    """When a slice is kept from stage 2."""

    threshold: Fraction | Literal["validation"] = Field(
        "validation", description="P(any) below which stage 2 is not run, or `validation`: chosen there by max_missed."
    )
    max_missed: Fraction = Field(
        0.01, description="Largest share of each subtype's validation positives that may be gated away."
    )


class Train(Section):
    """Step 6."""

    model: Literal["cascade", "modified-cascade", "efficientnet", "convnext"] = "cascade"
    backbones: Backbones = Backbones()
    weights: str = Field(
        "imagenet", description="`imagenet`, a folder with Keras's weight files, or `none`: a random start."
    )
    heads: Heads = Heads()
    loss: Loss = Loss()
    batch_size: Positive = 32
    accumulation: Positive = Field(1, description="Batches whose gradients are summed before a step.")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "auto",
        description="`auto`: mixed_bfloat16 on a GPU that has it, mixed_float16 on one that has not, else float32.",
    )
    augmentation: TrainingAugmentation = TrainingAugmentation()
    phases: tuple[Phase, ...] = Field(
        (
            Phase(name="warm-up", epochs=10, learning_rate=1e-3, trainable="heads"),
            Phase(name="fine-tune", epochs=40, learning_rate=1e-5, trainable="top"),
            Phase(name="all-layers", epochs=0, learning_rate=1e-6, trainable="all"),
        ),
        description="Of each stage, in order.",
    )
    stage2_start: Literal["weights", "gate"] = Field(
        "weights",
        description="Where stage 2's EfficientNet starts: from `train.weights` (the notebooks), or from the gate's "
        "trained trunk, which a random start needs.",
    )
    end_to_end: EndToEnd = EndToEnd()
    early_stopping: EarlyStopping = EarlyStopping()
    plateau: Plateau = Plateau()
    gate: Gate = Gate()
    save_h5: bool = Field(False, description="Save the models as .h5 too.")

    @property
    def used_backbones(self) -> tuple[str, ...]:
        """Names of the backbones that `model` is built from."""
        names = self.backbones
        flat = {"efficientnet": (names.efficientnet,), "convnext": (names.convnext,)}
        return flat.get(self.model, (names.efficientnet, names.convnext))

    @model_validator(mode="after")
    def _something_to_train(self) -> Self:
        if not any(phase.epochs for phase in self.phases):
            raise ValueError("train.phases hold no epoch: give at least one phase epochs of 1 or more")
        return self


class Evaluate(Section):
    """Metrics, figures, report."""

    threshold: Fraction | Literal["youden"] = Field(
        "youden",
        description="Decision threshold of every label, or `youden`: chosen for each label on validation data.",
    )
    bootstrap: Count = Field(2_000, description="Replicates over patients for the 95 % intervals; 0: no intervals.")
    examples: Count = Field(24, description="Test slices shown in the report with their probabilities.")


class Experiment(Section):
    """The whole file."""

    workspace: UserPath = Field(description="Folder that everything is written to.")
    name: str = Field(
        "default", description="Name of the training run; its folder is runs/<name>.", pattern=r"^[\w.-]+$"
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(42, description="Seed of everything random.")
    steps: tuple[StepName, ...] = Field(
        ("index", "split", "sample", "copy", "preprocess", "augment", "train", "evaluate"),
        description="What `ich run` does, in this order.",
    )
    names: Names = Names()
    data: Data = Data()
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
        if "train" in self.steps and self.preprocess.size % 32:
            raise ValueError(f"preprocess.size must be a multiple of 32 for the networks, got {self.preprocess.size}")
        if "phantom" not in self.steps and (self.data.labels is None or self.data.dicom is None):
            missing = "data.labels" if self.data.labels is None else "data.dicom"
            raise ValueError(f"{missing} is not set and there is no phantom step: give its path, e.g. --{missing} PATH")
        return self

    @model_validator(mode="after")
    def _weights_fit_the_backbones(self) -> Self:
        demo = [name for name in self.train.used_backbones if name.endswith("Demo")]
        if "train" in self.steps and demo and self.train.weights != "none":
            raise ValueError(
                f"train.weights is {self.train.weights}, but {demo[0]} has no published weights: "
                "set train.weights: none"
            )
        return self
