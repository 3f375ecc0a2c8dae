# make demo: the whole system on this machine, with real traffic.  make test: everything that is checked.
SHELL := /bin/bash
VENV := .venv
PYTHON_IN_VENV := $(VENV)/bin/python
STAMP := $(VENV)/.made-for-nfp
NO_BENCHMARKS := %/__init__.py %_driver.py
BENCHMARKS := $(patsubst benchmarks/%.py,benchmarks.%,$(filter-out $(NO_BENCHMARKS),$(wildcard benchmarks/*.py)))

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lint types bench venv packages packages-for-demo clean

help:
	@echo 'make demo       bring everything up, send a chain through it, take it down (root)'
	@echo 'make test       lint, types, unit and functional tests (root)'
	@echo 'make test-fast  lint, types and unit tests'
	@echo 'make test-lowest  with every requirement at its lower bound'
	@echo 'make lint       ruff; make types: mypy'
	@echo 'make bench      figures, with the raw work beside them (root); BENCH_ROUNDS=20 for better ones'
	@echo 'make venv       the virtual environment $(VENV)'

demo: packages-for-demo venv
	$(PYTHON_IN_VENV) tools/demo.py

test: packages venv
	$(PYTHON_IN_VENV) tools/run_tests.py lint types unit functional fault

test-fast: venv
	$(PYTHON_IN_VENV) tools/run_tests.py lint types unit

lint: venv
	$(PYTHON_IN_VENV) tools/run_tests.py lint

types: venv
	$(PYTHON_IN_VENV) tools/run_tests.py types

bench: packages venv
	@for one in $(BENCHMARKS); do \
	  echo "== $$one"; rounds=; \
	  case "$$one" in *.first_chain) rounds="$${BENCH_ROUNDS:+--rounds $$BENCH_ROUNDS}";; esac; \
	  $(PYTHON_IN_VENV) -W ignore -m "$$one" $$rounds || exit 1; \
	done

packages:
	tools/install_packages.sh test

packages-for-demo:
	tools/install_packages.sh demo

venv: $(STAMP)

$(STAMP): setup.py setup.cfg pyproject.toml tools/make_venv.sh
	tools/make_venv.sh $(VENV)
	touch $@

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache _trial_temp*

# With every requirement at its lower bound: what setup.py promises to work with.  Beside the unit tests
# those that meet the libraries for real: TLS, HTTP, worker processes, the databases.
LOWEST := .cache/lowest
LOWEST_TESTS := tests.unit tests.functional.rest tests.functional.pki tests.functional.process tests.functional.store
.PHONY: test-lowest

test-lowest: packages $(LOWEST)/.made-for-nfp
	PYTHONPATH=. $(LOWEST)/bin/python -m twisted.trial --temp-directory=$(LOWEST)/trial $(LOWEST_TESTS)

$(LOWEST)/.made-for-nfp: setup.py tools/lowest_requirements.py
	rm -rf $(LOWEST)
	"$$(tools/find_python.sh)" -m venv $(LOWEST)
	$(LOWEST)/bin/python tools/lowest_requirements.py psycopg >$(LOWEST)/requirements.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -r $(LOWEST)/requirements.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check hypothesis setuptools wheel
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@
