# The two commands of the README, and what a change must pass. One environment, .venv, serves all.
#
#   make demo     a small slide, a simulated expert, and what comes of it, in demo-out/
#   make test     all tests
#   make bench    plain PyTorch beside slideloop, up to thirty minutes; writes bench.json
#   make lint     ruff, pyright, import-linter
#   make format   puts the code in ruff's form
#   make clean    removes what the others leave, except .venv
#
# BENCH="--quick" gives options to bench.
# PYTHON=/path/to/python3.11 chooses the interpreter; otherwise one is looked for.

.DEFAULT_GOAL := test
.PHONY: demo test bench lint format clean

bin := .venv/bin

demo: .venv/.installed
	$(bin)/slideloop demo --out demo-out

test: .venv/.installed
	$(bin)/python -m pytest

bench: .venv/.installed
	$(bin)/python examples/benchmarks/bench.py --out bench.json $(BENCH)

lint: .venv/.installed
	$(bin)/ruff check
	$(bin)/ruff format --check
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(bin)/pyright
	$(bin)/lint-imports

format: .venv/.installed
	$(bin)/ruff check --fix
	$(bin)/ruff format

clean:
	rm -rf demo-out bench.json dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find server tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml
	@PYTHON='$(PYTHON)' .ci/environment
