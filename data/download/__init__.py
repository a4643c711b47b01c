"""Published data and models: what there is, from where, and safely onto this machine."""
