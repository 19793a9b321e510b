# `make demo` and `make test` set themselves up in .venv; nothing else is touched.
#   make demo SOURCE=my.mp4 [DETECTOR=NAME] [INIT=x,y,w,h]         track your own video
#   make test WORKERS=8                                            on more than two cores
#   make ... PYTHON=python3.12 PIP_ARGS="…"                         another Python, more pip options

PYTHON ?= python3
PIP_ARGS ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Workers and the commands that tests start load what another has compiled.
export PYTHONDONTWRITEBYTECODE :=
# What is imported is compiled then; most of what is installed never is.
INSTALL := $(BIN)/python -m pip install -q --no-compile

.PHONY: demo gallery test test-all test-isa style types clean

demo: $(VENV)/.demo
	@$(BIN)/cli demo $(if $(SOURCE),--source "$(SOURCE)") $(if $(DETECTOR),--detector "$(DETECTOR)") \
	  $(if $(INIT),--init "$(INIT)") $(if $(FRAMES),--frames $(FRAMES))

# The README's images, from the procedural scene.
gallery: $(VENV)/.demo
	@$(BIN)/cli demo --gallery docs/gallery

# The files that hold such tests: others need not be imported for them.
ALONE = $$(grep -rlE 'mark\.alone' tests --include='test_*.py')
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow and not alone" -n $(WORKERS) --dist worksteal
	$(BIN)/python -m pytest -m "not slow and alone" $(ALONE)

# With the long runs on real sequences, where those are at hand.
test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not alone" -n $(WORKERS) --dist worksteal
	$(BIN)/python -m pytest -m alone $(ALONE)

# The numeric part with libraries held back to what older processors can do.
test-isa: $(VENV)/.dev
	$(BIN)/python tests/support/instruction_sets.py

style: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The package is the repository root: mypy is shown a folder that holds it under its name.
PARTS := $(wildcard *.py) benchmarks calibration commands evaluation export heads runtime tracking
types: $(VENV)/.types
	@rm -rf build/types && mkdir -p build/types/unitrack_edge
	@ln -s $(addprefix $(CURDIR)/,$(PARTS)) build/types/unitrack_edge
	cd build/types && MYPYPATH=. $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml \
	  --cache-dir $(CURDIR)/.mypy_cache -p unitrack_edge
	$(BIN)/python tests/support/gpu/tensorrt_types.py build/types-tensorrt

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed, $(PYTHON) is older: make PYTHON=python3.11 …"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -c constraints.txt $(PIP_ARGS) -e '.[cpu,export,eval]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(INSTALL) -c constraints.txt $(PIP_ARGS) -e '.[cpu,export,eval,dev]'
	@touch $@ $(VENV)/.demo

# Without what it depends on: TensorRT itself, whose types these are, is not needed for them.
$(VENV)/.types: $(VENV)/.dev
	$(INSTALL) --no-deps $(PIP_ARGS) tensorrt-stubs==10.13.0.35.1
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
