"""Decoders: a vector into language."""
