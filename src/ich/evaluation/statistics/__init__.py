"""Figures of labels, probabilities and decisions, and their intervals by bootstrap over patients."""
