"""Sections of the config for phantoms and for steps 1 to 5."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ich.config.section import Count, Fraction, Location, Positive, Section, UserPath
from ich.labels import SUBTYPES, Label

SliceCount = Annotated[int, Field(ge=1, le=1000)]

# What else the workspace holds (ARCHITECTURE.md); names of the config must be others.
_OUR_NAMES = {
    "phantom", "labels", "parts", "records", "models", "runs", "index.parquet", "slices.parquet", "splits.json",
    "missing_files.csv", "labels_without_files.csv", "files_without_labels.csv", "identical_pixels.csv",
    "data_card.html", "data_card.json",
}  # fmt: skip


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
            if not name.isprintable() or name.startswith(".") or not name or "/" in name or "\\" in name:
                raise ValueError(f"names: each must be one plain name inside the workspace, got {name!r}")
        files = [*names, *(f"{stem}.csv" for stem in (self.train, self.val, self.test))]
        if taken := _OUR_NAMES & set(files):
            raise ValueError(f"names: {min(taken)} is the name of something else in the workspace; choose another")
        if len(set(files)) != len(files):
            raise ValueError(f"names: each must be different, tables (train, val, test with .csv) too, got {names}")
        return self


class Data(Section):
    """Where the input is. Both are left out when the `phantom` step makes it."""

    labels: Location | None = Field(
        None,
        description="Label CSV in the competition's long format (columns ID,Label): a file, a member of a zip file "
        "(x.zip/a.csv), or a URL. What is no file is fetched into the workspace.",
    )
    dicom: Location | tuple[Location, ...] | None = Field(
        None,
        description="Where the DICOM files are, one a slice, named <ImageID>.dcm: a folder, a zip file (or a folder in "
        "it: x.zip/a/b), a URL such as s3://bucket/folder, or a list of these.",
    )

    @property
    def sources(self) -> tuple[str, ...]:
        """The places of `dicom`; none if it is not set."""
        return (self.dicom,) if isinstance(self.dicom, str) else self.dicom or ()


class Index(Section):
    """Headers of all DICOM files, read before anything is chosen."""

    hash: bool = Field(
        False,
        description="Read the pixels too, for a hash of each slice's HU: slices with identical pixels then stay in one "
        "split. It takes a third of the time of step 3.",
    )


class Phantom(Section):
    """Synthetic head CT to try the pipeline on."""

    patients: Positive = Field(200, description="Number of patients; each has one series.")
    slices: tuple[SliceCount, SliceCount] = Field((20, 40), description="Fewest and most slices of a series.")
    prevalence: Literal["rsna", "enriched"] = Field(
        "enriched", description="Share of patients with a bleed: as in the RSNA 2019 data, or about half of them."
    )
    headers: Literal["rsna", "clinical"] = Field(
        "rsna", description="DICOM headers as the RSNA files have them (stripped, invalid UIDs) or as a scanner writes."
    )
    quirks: bool = Field(True, description="Give the files the faults and oddities of the real data.")
    rows: Literal[128, 256, 512] = Field(512, description="Rows and columns of a slice, in pixels.")
    masks: bool = Field(True, description="Keep the lesion masks as PNG files beside the DICOM files.")

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
    whole_series: bool = Field(
        False,
        description="Take every slice of each series that holds a chosen slice, so that neighbours are there "
        "(train.input: neighbours). Needs index before sample.",
    )


class Copy(Section):
    """Step 2: the chosen DICOM files are brought into the workspace."""

    mode: Literal["copy", "link", "none"] = Field(
        "none", description="Copy the files, make symbolic links, or read them where they are."
    )
    threads: Count = Field(
        0, description="Files copied at the same time; 0 is one for each CPU core. A network disk may want more."
    )
    verify: Literal["size", "sha256"] = Field("size", description="How a copy is compared with its original.")


class Window(Section):
    """A display window, LINEAR_EXACT (DICOM PS3.3 C.11.2.1.3.2)."""

    center: float = Field(description="Center, HU.")
    width: float = Field(gt=0, description="Width, HU.")


class Preprocess(Section):
    """Step 3: DICOM to RGB PNG. Each channel is one window; windows first, then the area resize."""

    size: Annotated[int, Field(ge=32, le=1024)] = Field(
        256,
        description="Rows and columns of the PNG, and so of the networks' input, in pixels; for training a multiple of "
        "32.",
    )
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
    fractions: tuple[float, float, float] = Field(
        (0.8, 0.1, 0.1),
        description="Training, validation, test; sum 1. Without effect with `folds` or a `published` split.",
    )
    folds: Count = Field(
        0, description="Equal folds that patients are dealt into, 3 or more, for cross-validation; 0: none."
    )
    fold: Count | None = Field(
        None, description="Which fold is test, from 0 on; the next one is validation, the others are training."
    )
    published: UserPath | None = Field(
        None, description="A splits.json made elsewhere, which is applied as it is, to compare on the same split."
    )

    @property
    def shares(self) -> tuple[float, float, float]:
        """What training, validation and test are due of everything: the fractions, or folds."""
        return (1 - 2 / self.folds, 1 / self.folds, 1 / self.folds) if self.folds else self.fractions

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if abs(sum(self.fractions) - 1) > 1e-6 or min(self.fractions) <= 0:
            raise ValueError(f"split.fractions must be positive and sum to 1, got {list(self.fractions)}")
        return self

    @model_validator(mode="after")
    def _folds_make_sense(self) -> Self:
        if self.published and (self.folds or self.fold is not None):
            raise ValueError("split.published has its own folds: leave split.folds and split.fold out")
        if not self.folds:
            if self.fold is not None:
                raise ValueError(f"split.fold is {self.fold}, but split.folds is 0: set split.folds, or leave fold out")
            return self
        if self.folds < 3:
            raise ValueError(
                f"split.folds must be 0 or at least 3 (training, validation and test need one each), got {self.folds}"
            )
        if self.unit == "slice":  # the notebooks have none to compare with
            raise ValueError("split.folds needs split.unit: patient; folds of slices would leak")
        if self.fold is None or self.fold >= self.folds:
            got = "it is not set" if self.fold is None else f"got {self.fold}"
            raise ValueError(f"split.fold must be 0 to {self.folds - 1}, as split.folds is {self.folds}; {got}")
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
    elastic_sigma: float = Field(5, gt=0, le=32, description="Smoothing of the displacement field, in pixels.")
    shift: Fraction = Field(0, description="Uniform in +- this share of the image, along rows and columns.")

    @model_validator(mode="after")
    def _kernels_are_odd(self) -> Self:
        smallest, largest = self.blur_kernel
        if not (1 <= smallest <= largest <= 31 and smallest % 2 and largest % 2):
            raise ValueError(
                f"blur_kernel must be two odd numbers up to 31, the smaller first, got {list(self.blur_kernel)}"
            )
        return self


class Augment(Section):
    """Step 5: copies of minority-class training images, changed a little."""

    target: Count = Field(
        8_000, description="Positives of each label of `labels` after augmentation, at least; 0 adds none."
    )
    labels: tuple[Label, ...] = Field(SUBTYPES, description="Labels that are brought up to the target.")
    transforms: OfflineAugmentation = OfflineAugmentation()
