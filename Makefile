# Every target does all set-up by itself: a bare machine needs only Python 3.11.
PYTHON ?= python3.11
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
BAZEL_OUTPUT ?= $(HOME)/.cache/tfcausal-bazel
RULES_JAVA := /usr/share/bazel/rules/java

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow lint bench bazel-test lock clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# The stamp is written last, so that an installation cut short is done again.
$(STAMP): requirements.lock setup.py tfcausal/version.py
	rm -f $(STAMP)
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --requirement requirements.lock
	$(PY) -m pip install --quiet --no-deps --editable .
	touch $(STAMP)

venv: $(STAMP)  ## Make the virtual environment and install everything

demo: $(STAMP)  ## Run the whole way on a synthetic world, into demo/
	$(PY) examples/demo.py

test: $(STAMP)  ## Run the tests
	$(PY) -m pytest -m "not slow" -q -n 2 --dist loadfile

test-slow: $(STAMP)  ## Run the long tests
	$(PY) -m pytest -m slow -q

lint: $(STAMP)  ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(STAMP)  ## Run the speed benchmarks, one after the other
	$(PY) -m tests.benchmarks.beam_popularity
	$(PY) -m tests.benchmarks.dice_training
	$(PY) -m tests.benchmarks.full_ranking

bazel-test: $(STAMP)  ## Build and test with Bazel (Debian: bazel-bootstrap, bazel-rules-java)
	@command -v bazel > /dev/null || { \
	    echo "bazel must be on the path; it is not. On Debian: apt-get install" \
	         "bazel-bootstrap bazel-rules-java." >&2; exit 2; }
	@test -d $(RULES_JAVA) || { \
	    echo "$(RULES_JAVA) must exist, since WORKSPACE names it; it does not." \
	         "On Debian: apt-get install bazel-rules-java." >&2; exit 2; }
	mkdir -p tools/bazel/runtime
	printf 'py_runtime(\n    name = "venv",\n    interpreter_path = "%s",\n    python_version = "PY3",\n    visibility = ["//visibility:public"],\n)\n' \
	    "$(CURDIR)/$(PY)" > tools/bazel/runtime/BUILD
	bazel --output_user_root=$(BAZEL_OUTPUT) test //:all

lock: $(STAMP)  ## Write requirements.lock from what is installed
	$(PY) tools/lock.py > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:  ## Remove the virtual environment, the demo and all caches
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
