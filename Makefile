# Each target works as the first command on a fresh clone; pip and Python 3.10, 3.11 or 3.12 suffice.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STAND_INS := mmpose_lift/compat/stand_ins
# what an installation is made of; editing any of these installs again
INSTALL_FILES := requirements.txt setup.py pyproject.toml mmpose_lift/version.py \
	$(STAND_INS)/chumpy/pyproject.toml $(STAND_INS)/mmcv_ops/pyproject.toml \
	$(STAND_INS)/mmcv_ops/mmcv/_ext.py
# threads cost more than they give on the tests' tiny inputs
export OMP_NUM_THREADS ?= 1

.PHONY: help install demo test lint clean

help:
	@echo 'make install   set up everything in $(VENV) (about two minutes and 6 GB)'
	@echo 'make demo      install, then train, test and use a small model on embedded data'
	@echo 'make test      install, check the style, run the tests'
	@echo 'make lint      install, check the style'
	@echo 'make clean     remove builds and caches; $(VENV) stays'
	@echo 'Another interpreter: make PYTHON=python3.11 install'

install: $(STAMP)

$(STAMP): $(INSTALL_FILES)
	@python=$(BIN)/python; $$python -m pip --version >/dev/null 2>&1 || python='$(PYTHON)'; \
	command -v "$$python" >/dev/null || { \
		echo "no $$python here. Install Python 3.10, 3.11 or 3.12, or name one: make PYTHON=python3.11 $(or $(MAKECMDGOALS),install)" >&2; exit 1; }; \
	version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 1; \
	case $$version in 3.10|3.11|3.12) ;; *) \
		echo "$$python is Python $$version; mmpose_lift runs on 3.10, 3.11 and 3.12. Name one of them: make PYTHON=python3.11 $(or $(MAKECMDGOALS),install)" >&2; \
		[ "$$python" = '$(PYTHON)' ] || echo 'and remove $(VENV) first' >&2; exit 1;; esac
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@# xtcocotools has no wheel for 3.12, and its build needs numpy beside it
	@if [ "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = 3.12 ]; then \
		set -e -x; \
		$(BIN)/python -m pip install 'setuptools<81' wheel cython "$$(grep '^numpy==' requirements.txt)"; \
		$(BIN)/python -m pip install --no-build-isolation --no-deps "$$(grep '^xtcocotools==' requirements.txt)"; fi
	$(BIN)/python -m pip install -r requirements.txt -e .
	$(BIN)/python -m pip check
	@touch $@

demo: export OMP_NUM_THREADS = $(shell nproc 2>/dev/null || echo 2)
demo: install
	$(BIN)/python tools/demo.py

test: lint
	$(BIN)/python -m pytest -q

lint: install
	$(BIN)/ruff check setup.py mmpose_lift tests tools configs

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache mmpose_lift/.mim \
		$(STAND_INS)/*/build $(STAND_INS)/*/*.egg-info
	find mmpose_lift tests tools configs -name __pycache__ -type d -prune -exec rm -rf {} +
