"""How well a detector does: metrics, thresholds, intervals, the baseline, figures and the report."""
