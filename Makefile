# `make test` installs into .venv, when there is something to install, and runs scripts/check.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed

.PHONY: test demo clean

test: $(INSTALLED)
	scripts/check

demo: $(INSTALLED)
	rm -rf build/demo
	$(VENV)/bin/vl demo --output-dir build/demo

# pip, not python, is looked for: a venv that was interrupted has the one without the other.
$(INSTALLED): setup.cfg pyproject.toml
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -e '.[test]'
	touch $@

# .venv stays: torch is gigabytes to fetch again.
clean:
	rm -rf build dist *.egg-info .coverage htmlcov .mypy_cache .pytest_cache .ruff_cache
	find vl encoders decoders data scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
