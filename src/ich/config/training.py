"""The section of the config for step 6: networks, loss, phases."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ich.config.preparation import OfflineAugmentation
from ich.config.section import Count, Fraction, LearningRate, Positive, Rate, Section
from ich.labels import Label


class TrainingAugmentation(OfflineAugmentation):
    """The same transforms with other defaults, drawn anew for each image and epoch, inside the training step."""

    vertical_flip: Fraction = Field(0, description="Probability.")
    rotate: Fraction = Field(1, description="Probability of a rotation.")
    rotate_degrees: float = Field(10, ge=0, le=180, description="Uniform in +- this angle.")
    brightness_contrast: Fraction = Field(0, description="Probability of a change of brightness and contrast.")
    blur: Fraction = Field(0, description="Probability of a Gaussian blur.")
    elastic: Fraction = Field(0, description="Probability of an elastic deformation.")
    shift: Fraction = Field(0.1, description="Uniform in +- this share of the image, along rows and columns.")
    mixup: Annotated[float, Field(ge=0, le=10)] = Field(
        0,
        description="Alpha of Beta(alpha, alpha), from which the share is drawn in which an image and its labels are "
        "mixed with another's of the batch, e.g. 0.2. 0 mixes none.",
    )


class Backbones(Section):
    """Networks by name: a Keras family member, or the demo-scale member of the family."""

    efficientnet: Literal[
        "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3",
        "EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L", "EfficientNetV2Demo",
    ] = Field("EfficientNetV2M", description="Of the gate, and of stage 2; ...Demo is small, for a CPU.")  # fmt: skip
    convnext: Literal[
        "ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge", "ConvNeXtDemo"
    ] = Field("ConvNeXtBase", description="Of stage 2; ...Demo is small, for a CPU.")


class Heads(Section):
    """Layers on top of the backbones."""

    gate_units: Positive = Field(512, description="Dense units of the gate and of the flat models.")
    gate_dropout: Rate = Field(0.3, description="Dropout before and after the gate's dense layer.")
    subtype_units: Positive = Field(1024, description="Dense units of the subtype stage.")
    subtype_dropout: Rate = Field(0.4, description="Dropout after the subtype stage's dense layer.")
    attention_width: Positive = Field(256, description="Width that both feature maps are projected to.")
    attention_heads: Positive = Field(4, description="Heads of the cross-attention.")
    l2: float = Field(0, ge=0, description="L2 penalty on the kernels of the heads' dense layers.")


ModelName = Literal["cascade", "modified-cascade", "efficientnet", "convnext"]
LabelWeight = Annotated[float, Field(gt=0, le=1000)]


class Loss(Section):
    """Binary cross-entropy, weighted. Of all stages but the end-to-end one, which has the competition's loss."""

    class_weights: Literal["balanced", "none"] = Field(
        "balanced",
        description="`balanced`: n / (2 n_class) for each label's positives and negatives, as `train.sampling` draws "
        "them.",
    )
    label_weights: dict[Label, LabelWeight] = Field({}, description="Factor on one label's loss, e.g. {epidural: 2}.")
    weighting: Literal["equal", "competition"] = Field(
        "equal",
        description="Share of each label in a flat model's loss: 1/6 each, or the competition's, 2/7 for any and 1/7 "
        "for each subtype. The stages of a cascade have one label, or five equal ones, either way.",
    )
    focal_gamma: float = Field(0, ge=0, le=10, description="Focal loss exponent; 0 is plain cross-entropy.")
    label_smoothing: Rate = Field(
        0, description="e: training takes a label y for y (1 - e) + e/2, e.g. 0.05. Validation does not."
    )


class Phase(Section):
    """One run of `fit`."""

    name: str = Field(description="In messages, history.csv and the report's figure.")
    epochs: Count = Field(description="At most; early stopping may end it sooner. 0 leaves the phase out.")
    learning_rate: LearningRate = Field(description="Of Adam, at the start of the phase.")
    trainable: Literal["heads", "top", "all"] = Field(
        description="`heads`: backbones frozen, batch-norm statistics too. `top`: heads and the last resolution of "
        "each backbone. `all`: everything."
    )


class EndToEnd(Section):
    """Both stages together on the soft product P(any) P(subtype | any), with the competition's loss."""

    epochs: Count = Field(5, description="0 leaves it out.")
    learning_rate: LearningRate = Field(1e-6, description="Of Adam, for all layers.")


class EarlyStopping(Section):
    """Stops a phase and restores its best weights."""

    patience: Positive = Field(10, description="Epochs without a better validation loss.")


class Plateau(Section):
    """Lowers the learning rate when the validation loss stands still, if `train.schedule` is `plateau`."""

    factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="Of the learning rate, each time.")
    patience: Positive = Field(5, description="Epochs without a better validation loss.")
    min_learning_rate: float = Field(1e-7, ge=0, description="It is not lowered further; where a cosine ends.")
    min_delta: float = Field(1e-4, ge=0, description="A validation loss is better if it is lower by more than this.")


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

    model: ModelName = Field(
        "cascade",
        description="Gate and subtype stage (`modified-`: with one EfficientNet for both), or one flat network.",
    )
    input: Literal["windows", "neighbours"] = Field(
        "windows",
        description="What is red, green and blue: a slice's three windows, or one window of three slices: the one "
        "before along the series, the slice itself, and the one after. Neighbours need index in steps, whole series "
        "(sample.whole_series) and augment.target: 0.",
    )
    neighbours_window: Literal[0, 1, 2] = Field(
        0, description="With `neighbours`: of preprocess's red (0), green (1) and blue (2) window, the one. Else 0."
    )
    backbones: Backbones = Backbones()
    weights: str = Field(
        "imagenet",
        description="`imagenet`; `none`: a random start; a whole model that Keras 2 or 3 saved as .h5; or a folder. "
        "There each backbone takes Keras's <stem>_notop.h5, else what it is in a whole model: stage1_best.h5 for the "
        "gate, stage2_best.h5 for the subtypes, else cascade_final.h5 for both; <model>_best.h5, else "
        "<model>_final.h5, for a flat model. A head of the same shapes is taken from a whole model too.",
    )
    heads: Heads = Heads()
    loss: Loss = Loss()
    sampling: Literal["none", "balanced"] = Field(
        "none",
        description="`balanced`: each epoch draws as many slices as there are, with replacement, each with a chance in "
        "proportion to the largest of the odds against the labels that it is positive for, 1 if for none. So of one "
        "label positives and negatives come equally often. Not end to end.",
    )
    batch_size: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = Field(
        32,
        description="Images that are computed together. `auto`: the largest of 8, 16, 32, 64, 128 that is estimated to "
        "fit into the device's memory (`ich train --dry-run`); chosen once, and kept in runs/<name>/batch_size.json.",
    )
    accumulation: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="Batches whose gradients are averaged for one step."
    )
    recompute: bool = Field(
        False,
        description="Gradient checkpointing: keep results of convolutions and dense layers only, and compute the rest "
        "again in the backward pass. Less memory, more time.",
    )
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
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0,
        description="Decoupled (AdamW): each step takes this times the learning rate off all weights but biases and "
        "the scales and offsets of normalisation, e.g. 0.01. 0 is Adam.",
    )
    schedule: Literal["plateau", "cosine"] = Field(
        "plateau",
        description="Of the learning rate within a phase: lowered by `train.plateau`, or step by step along half a "
        "cosine, over the phase's epochs, down to plateau.min_learning_rate.",
    )
    ema: Rate = Field(
        0,
        description="Decay of an exponential moving average of the weights, by step, e.g. 0.999; the averaged weights "
        "are validated and saved. min(ema, (1 + t) / (10 + t)) after t steps of the phase. 0 is off.",
    )
    early_stopping: EarlyStopping = EarlyStopping()
    plateau: Plateau = Plateau()
    gate: Gate = Gate()
    save_h5: bool = Field(False, description="Save the models as .h5 too.")

    @property
    def images_together(self) -> int:
        """`batch_size`, once it is a number: `ich.training.batch_size` puts one in the place of `auto`."""
        if self.batch_size == "auto":
            raise ValueError("train.batch_size is auto, and no number has been chosen yet")
        return self.batch_size

    @property
    def used_backbones(self) -> tuple[str, ...]:
        """Names of the backbones that `model` is built from."""
        names = self.backbones
        flat = {"efficientnet": (names.efficientnet,), "convnext": (names.convnext,)}
        return flat.get(self.model, (names.efficientnet, names.convnext))

    @field_validator("neighbours_window")
    @classmethod
    def _of_neighbours_only(cls, window: int, info: ValidationInfo) -> int:
        """Where it means nothing, no two settings, trainings or models shall differ in it."""
        return window if info.data.get("input") == "neighbours" else 0

    @model_validator(mode="after")
    def _something_to_train(self) -> Self:
        if not any(phase.epochs for phase in self.phases):
            raise ValueError("train.phases hold no epoch: give at least one phase epochs of 1 or more")
        return self
