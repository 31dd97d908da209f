# Each target is one line over a python -m command; set-up happens by itself.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
export PYTHONPATH := $(CURDIR)

.PHONY: demo run test check bench clean

demo: $(VENV)/.local
	$(PY) -m infra.local.demo $(ARGS)

run: $(VENV)/.local
	$(PY) -m infra.local.serve --port 7071 --data .data

test: $(VENV)/.dev
	PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/$(VENV)/bytecode $(PY) -m pytest -n auto --dist worksteal

check: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.local
	$(PY) -m infra.local.bench

$(VENV)/.local: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check pip==26.3
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt --group local
	touch $@

$(VENV)/.dev: $(VENV)/.local
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt --group dev
	touch $@

clean:
	rm -rf $(VENV) .worker-venv .conformance-venv .data
