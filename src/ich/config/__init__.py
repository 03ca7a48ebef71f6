"""One YAML file describes a whole experiment; this package is its schema; `ich.config.read` reads it.

Every model is frozen and refuses unknown keys. A field's description is its documentation (`ich config --explain`
prints them); units stand in the description. Defaults suit a first run; our best choices stand in `configs/rsna.yaml`,
the notebooks' protocol in `configs/reference.yaml`.
"""

from ich.config.experiment import Evaluate, Experiment, StepName
from ich.config.preparation import (
    Augment,
    Copy,
    Data,
    Index,
    Names,
    OfflineAugmentation,
    Phantom,
    Preprocess,
    Sample,
    Split,
    Window,
)
from ich.config.section import Section
from ich.config.training import (
    Backbones,
    EarlyStopping,
    EndToEnd,
    Gate,
    Heads,
    Loss,
    Phase,
    Plateau,
    Train,
    TrainingAugmentation,
)

__all__ = [
    "Augment",
    "Backbones",
    "Copy",
    "Data",
    "EarlyStopping",
    "EndToEnd",
    "Evaluate",
    "Experiment",
    "Gate",
    "Heads",
    "Index",
    "Loss",
    "Names",
    "OfflineAugmentation",
    "Phantom",
    "Phase",
    "Plateau",
    "Preprocess",
    "Sample",
    "Section",
    "Split",
    "StepName",
    "Train",
    "TrainingAugmentation",
    "Window",
]
