"""Labelling: the labeller, its training, calibration and evaluation."""
