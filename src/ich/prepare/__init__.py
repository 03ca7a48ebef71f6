"""Preparation: one file a step, named like its command."""
