"""Pixels into a vector or a feature map."""
