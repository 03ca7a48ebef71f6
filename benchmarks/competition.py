"""Counts of the RSNA 2019 stage-2 training set, which made-up data share."""

from ich.labels import Label

PATIENTS, SERIES, SLICES = 18_938, 21_744, 752_803
POSITIVES: dict[Label, int] = {
    "any": 107_933, "epidural": 3_145, "intraparenchymal": 36_118, "intraventricular": 26_205,
    "subarachnoid": 35_675, "subdural": 47_166,
}  # fmt: skip
