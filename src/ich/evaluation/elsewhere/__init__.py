"""Predictions and labels that do not come from a workspace: read, matched, scored."""
