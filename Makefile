# `make test` installs into .venv if setup.cfg has changed, runs scripts/check and builds the docs.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/installed

.PHONY: test demo docs clean

test: $(INSTALLED)
	scripts/check
	$(MAKE) docs

demo: $(INSTALLED)
	rm -rf build/demo
	$(VENV)/bin/vl demo --output-dir build/demo

docs: $(INSTALLED)
	$(VENV)/bin/sphinx-build -W --keep-going docs build/docs

# pip, not python, is tested for: an interrupted venv has python without pip.
$(INSTALLED): setup.cfg pyproject.toml
	test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -e '.[test]'
	touch $@

# .venv stays: torch is gigabytes to fetch again.
clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find vl encoders decoders data scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
