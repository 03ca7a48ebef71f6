"""Options of the commands, with the help that each is shown with."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ich.config.training import ModelName

ConfigPath = Annotated[Path, Parameter(name=["--config", "-c"], help="YAML file that describes the experiment.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print the result as JSON on standard output.")]
Compare = Annotated[
    list[ModelName] | None,
    Parameter(
        consume_multiple=True,
        negative="",
        help="Train and evaluate two or more models on the same split, each as a run of its own, and compare them.",
    ),
]
Coordinator = Annotated[
    str | None,
    Parameter(help="Of several processes that train together: HOST:PORT at which all of them can reach process 0."),
]
NumProcesses = Annotated[int | None, Parameter(help="Of several processes that train together: how many there are.")]
ProcessId = Annotated[
    int | None, Parameter(help="Of several processes that train together: the number of this one, from 0.")
]
ANY_KEY = (
    "Any key of the config can be replaced too, those of this step without their section: `--train.batch_size 16` is "
    "`--batch_size 16` for train. `ich config` lists them all."
)
DryRun = Annotated[
    bool,
    Parameter(
        negative="", help="Train nothing, write nothing: say what would learn, and the memory and time that it takes."
    ),
]
Overrides = Annotated[
    str,
    Parameter(
        show=False, allow_leading_hyphen=True, help="--key.of.config value: replaces a value of the config file."
    ),
]

OptionalConfig = Annotated[
    Path | None, Parameter(name=["--config", "-c"], help="YAML file that describes the experiment.")
]
Predictions = Annotated[
    Path | None,
    Parameter(
        help="CSV or Parquet file of probabilities from elsewhere, by image or study, to evaluate instead of a model."
    ),
]
LabelFile = Annotated[
    Path | None,
    Parameter(
        help="Without a config: what is true of the images or studies: the competition's label CSV, one of our tables, "
        "CQ500's reads.csv, CT-ICH's table, or a CSV with a column study and the labels."
    ),
]
ThresholdFile = Annotated[
    Path | None,
    Parameter(
        help="Without a config: a calibration file of `ich evaluate`, whose thresholds are used; else they are 0.5, or "
        "--threshold NUMBER."
    ),
]
ReportFolder = Annotated[Path | None, Parameter(name="--output", help="Without a config: folder of the report.")]

DicomInputs = Annotated[
    list[Path], Parameter(help="DICOM files, or folders of them.", consume_multiple=True, negative="")
]
Models = Annotated[
    list[Path],
    Parameter(
        negative="",
        help="A trained model: cascade_final.keras, with its .json card beside it. Give --model again for each of "
        "several: their mean is taken.",
    ),
]
CalibrationFile = Annotated[
    Path | None,
    Parameter(
        help="File of the calibration, which `ich evaluate` writes, or `none` for probabilities as the model gives "
        "them. Left out: that beside the model, if there is one; for the mean of several models, none."
    ),
]
ProbabilityTable = Annotated[Path | None, Parameter(help="Write the probabilities to this CSV file too.")]

PredictionTable = Annotated[Path, Parameter(help="CSV or Parquet: probabilities of the six labels for each image.")]
SampleSubmission = Annotated[
    Path, Parameter(help="The competition's stage_2_sample_submission.csv: which rows, in order.")
]
Submission = Annotated[Path, Parameter(help="Write the submission to this CSV file.")]
Clip = Annotated[float, Parameter(help="Move probabilities into [CLIP, 1 - CLIP].")]
