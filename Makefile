# Each target is one line over a python -m command; set-up happens by itself. PYTHON=… chooses the Python.
VENV := .venv
PY := $(VENV)/bin/python
export PYTHONPATH := $(CURDIR)

.PHONY: help demo plan run test check audit package mutants fuzz bench smoke clean $(VENV)/.local $(VENV)/.dev

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.local ## the main job on 1,000 made-up accounts, from start to end; ARGS=--all, ARGS=--graph
	$(PY) -m infra.local.demo $(ARGS)

plan: $(VENV)/.local ## a plan of your own two files: ACCOUNTS=accounts.csv IDENTITIES=users.csv DOMAINS=contoso.com
	@$(PY) -m infra.local.plan --accounts "$$ACCOUNTS" --identities "$$IDENTITIES" --domains "$$DOMAINS" \
		--policy "$$POLICY" --trust-emails "$$TRUST_EMAILS" \
		--account-columns "$$ACCOUNT_COLUMNS" --identity-columns "$$IDENTITY_COLUMNS" \
		--account-encoding "$$ACCOUNT_ENCODING" --identity-encoding "$$IDENTITY_ENCODING" --out "$$OUT"

run: $(VENV)/.local ## the app on http://127.0.0.1:7071, with its data in .data
	$(PY) -m infra.local.serve --port 7071 --data .data

test: $(VENV)/.dev ## every test, with a real Azurite and the real Functions worker, on every core
	PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX=$(CURDIR)/$(VENV)/bytecode $(PY) -m pytest -n auto --dist worksteal

check: $(VENV)/.dev audit ## ruff, mypy, import-linter, the checks of the templates, and checkov on them
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python -m infra.check

audit: $(VENV)/.dev ## of these checks checkov alone, in an environment of its own
	$(PY) -m infra.checks.audit

package: $(VENV)/.local ## .package/scimlink.zip, what both function apps run
	$(PY) -m infra.package

mutants: $(VENV)/.dev ## faults planted in what keeps people safe, each of which a test must find; ARGS=NAME for some
	$(PY) -m tests.mutants $(ARGS)

fuzz: $(VENV)/.dev ## what clients may send, drawn at random, for many minutes; ARGS=--times 200, ARGS=PATH for some
	$(PY) -m tests.fuzz $(ARGS)

bench: $(VENV)/.local ## every figure beside its aim (Linux)
	$(PY) -m infra.local.bench

smoke: $(VENV)/.dev ## the demo, and the tests of what another Python may break; PYTHON=… VENV=…
	$(PY) -m infra.local.demo
	$(PY) -m pytest -n auto --dist worksteal tests/infra tests/scim_users tests/worker

clean: ## removes what make has made, and the data of make run
	rm -rf $(VENV) .venv-* .worker-venv .conformance-venv .audit-venv .data .package

# Environments, by the dependency group that is installed in them. Each is looked at every time, in a twentieth of a
# second, for what decides about it is the Python that is found now.
$(VENV)/.local $(VENV)/.dev:
	@python=$$(infra/local/python.sh) && "$$python" -m infra.local.environment $(VENV) $(@:$(VENV)/.%=%)
