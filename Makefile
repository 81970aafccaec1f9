# `make` alone prints what there is.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Where pip looks for torch first, for example TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
ARGS   ?=
# What make peer makes its environment with: so101-nexus needs Python 3.12.
PEER_PYTHON ?= python3.12
# Where the runs of make results go; a folder that is not there yet.
STUDY  ?= multirun/first

# What make dashboard opens: the newest search, unless another is named.
NEWEST := $(firstword $(shell ls -t multirun/*/study.db 2>/dev/null))
STORAGE ?= $(if $(NEWEST),sqlite:///$(NEWEST))

.DEFAULT_GOAL := help
.PHONY: help setup run test wheel-check check format ui dashboard bench race algorithms peer faults sweepfaults plantedfaults postgres pruning coverage results clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  ARGS='...' is passed on: make run ARGS='seed=1 algo=sac', make test ARGS='-m slow'"

setup: $(STAMP)  ## create .venv with the pinned packages (once)

# pip compiles what it installs: where PYTHONDONTWRITEBYTECODE is set, as in many
# containers, every start would compile torch, Stable-Baselines3 and MLflow anew.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "so101rl needs Python 3.11 or newer: make setup PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install torch -c constraints.txt --index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install -e '.[dev]' -c constraints.txt
	touch $@

run: setup  ## train a residual PPO policy on Jacobian IK, then evaluate both
	$(BIN)/python main.py base_policy=jacobian algo=ppo $(ARGS)

# Files in their order: those with few tests, which xdist would put last, are the long ones.
test: setup  ## the tests, on all cores (minutes on two)
	$(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

# What is built, installed and tried lies in a temporary folder: nothing of the checkout
# can be found from there.
wheel-check: setup  ## build the wheel, install it into an empty environment, use it
	@set -e; here=$$(pwd); folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(BIN)/python -m pip wheel -q --no-deps -w "$$folder" .; \
	$(PYTHON) -m venv "$$folder/venv"; \
	"$$folder"/venv/bin/python -m pip install -q "$$folder"/so101rl-*.whl -c constraints.txt; \
	mkdir "$$folder/empty"; cd "$$folder/empty"; \
	"$$folder"/venv/bin/python "$$here/tests/wheel_check.py"

check: setup  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

ui: setup  ## MLflow on http://127.0.0.1:5000 over the local store
	@echo 'open, to compare runs:'
	-@$(BIN)/python -m so101rl.tracking.links mlflow.db http://127.0.0.1:5000
	$(BIN)/mlflow ui --host 127.0.0.1 --port 5000 --workers 1 --backend-store-uri sqlite:///mlflow.db

dashboard: setup  ## optuna-dashboard on http://127.0.0.1:8080 over the newest search, or STORAGE=URL
	@test -x $(BIN)/optuna-dashboard || { echo "optuna-dashboard is missing; right is $(BIN)/python -m pip install -e '.[sweeps]' -c constraints.txt" >&2; exit 2; }
	@test -n "$(STORAGE)" || { echo 'no multirun/*/study.db; right is STORAGE=URL, or a search: python main.py -m sweep=residual' >&2; exit 2; }
	$(BIN)/optuna-dashboard --host 127.0.0.1 --port 8080 $(STORAGE)

bench: setup  ## speed, measured on this machine
	$(BIN)/python benchmarks/run.py $(ARGS)

race: setup  ## time to a policy that solves the task, against the classic stack (an hour)
	$(BIN)/python benchmarks/race.py $(ARGS)

algorithms: setup  ## success and wall clock of every algorithm (an hour on two cores)
	$(BIN)/python benchmarks/algorithms.py $(ARGS)

faults: setup  ## break runs in every way that happens, and count what survives
	$(BIN)/python benchmarks/faults.py $(ARGS)

sweepfaults: setup  ## shoot sweeps and their runs, and count what survives
	$(BIN)/python benchmarks/sweep_faults.py $(ARGS)

plantedfaults: setup  ## plant faults in the code, and count which of them the tests catch
	$(BIN)/python benchmarks/planted_faults.py $(ARGS)

postgres: setup  ## one search by four workers on a PostgreSQL server of its own, one is shot
	@$(BIN)/python -c 'import psycopg' 2>/dev/null || { echo "psycopg is missing; right is $(BIN)/python -m pip install -e '.[sweeps]' -c constraints.txt" >&2; exit 2; }
	$(BIN)/python benchmarks/postgres.py $(ARGS)

pruning: setup  ## one search with every run to its end, and the same with pruners (half an hour)
	$(BIN)/python benchmarks/pruning.py --runs multirun/pruning $(ARGS)

coverage: setup  ## how often intervals of few seeds hold the truth (a minute)
	$(BIN)/python benchmarks/coverage.py $(ARGS)

peer:  ## so101-nexus in .peer, for make bench to measure against
	test -x .peer/bin/python || $(PEER_PYTHON) -m venv .peer
	.peer/bin/python -m pip install 'so101-nexus[mjbatch]==0.10.0'

results: setup  ## repeat the reported study (about an hour and a half on two cores)
	@test ! -e $(STUDY) || { echo '$(STUDY) is there already; right is a new folder: make results STUDY=multirun/again' >&2; exit 2; }
	$(BIN)/python main.py -m experiment=first env=paper_push,paper_push_hard \
	    base_policy=jacobian,zero seed=0,1,2,3,4 hydra.sweep.dir=$(STUDY) $(ARGS)
	$(BIN)/python main.py job=report 'runs=[$(STUDY)]' out=experiments/first
	$(BIN)/python docs/update.py

clean:  ## remove the environment and caches; runs stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
