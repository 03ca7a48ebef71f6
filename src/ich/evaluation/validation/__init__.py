"""What is chosen on validation data, and on no other: calibration and thresholds."""
