"""The report's figures, a kind a file."""
