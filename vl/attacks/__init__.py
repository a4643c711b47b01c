"""Adversarial attacks on classifiers, labellers and captioners."""
