"""Scores of captions and labels."""
