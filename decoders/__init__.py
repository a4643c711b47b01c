"""A vector into language."""
