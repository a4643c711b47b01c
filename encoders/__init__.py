"""Pixels into a vector."""
