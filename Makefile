# Names for commands a person types; the work is in tools/.
.DEFAULT_GOAL := help
.PHONY: help setup lock sources apply unapply status parity year engine report test test-gpu \
	test-npu test-upstream kills mutants paths bench serve-bench accuracy lint check docs clean

BIN := .venv/bin
OUT ?= build/parity
PYTHON ?=
DEVICE ?=
PATCHSERIES := $(BIN)/patchseries
MMPARITY := $(BIN)/mmparity
JOBS ?= 2
TEST = $(BIN)/pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder

# The environment that is made beside the project's own, which is "base".
beside = $(filter-out base,$(ENV))

# $(call on_trees,COMMAND): on the project's own trees, or on the checkouts named.
on_trees = $(PATCHSERIES) $(1) $(if $(VLLM),--onto "$(VLLM)") \
	$(if $(ASCEND),--onto "$(ASCEND)") $(ARGS)

# What serves: the project's small model and its own sides, or what is named.
sides = $(if $(MODEL),--model "$(MODEL)") $(if $(OLD),--old "$(OLD)") \
	$(if $(NEW),--new "$(NEW)")

##@ Run
parity: trees ## run the default cases, print verdict and report (ENV=today, MODELS=all, FAST=1, OUT=, ARGS=)
	$(if $(filter all,$(MODELS)),@python3 tools/setup_extras.py --optional trained)
	$(MMPARITY) run $(if $(ENV),--env $(ENV)) $(if $(FAST),--fast) $(if $(MODELS),--models $(MODELS)) --out $(OUT) $(ARGS)
year: trees ## every release and every series against the oracle: docs/a-year.md (ENV=today, ARGS=)
	$(MMPARITY) year --page docs/a-year.md $(ARGS)
engine: trees ## vLLM's engine on this CPU: answers and memory, old and new (OUT=, ARGS=)
	@python3 tools/setup_venv.py --engine
	$(MMPARITY) engine --serve 200 --out $(OUT) $(ARGS)
report: setup ## render the last run again (OUT=, ARGS="--format markdown")
	$(MMPARITY) report $(OUT) $(ARGS)
serve-bench: trees ## serve and load old and new (MODEL=, OLD=python or side, NEW=, ARGS=)
	$(MMPARITY) serve $(sides) $(ARGS)
accuracy: trees ## lm_eval of old and new (MODEL=, OLD=python or side, NEW=, ARGS=)
	$(if $(NEW),,@python3 tools/setup_extras.py accuracy)
	$(MMPARITY) accuracy $(sides) $(ARGS)

##@ Prepare
setup: ## make .venv from the locks (PYTHON=3.11, DEVICE=cpu|cuda|npu, EXTRA=accuracy|demo|machines|peers|trained, ENV=today)
	@python3 tools/setup_venv.py --device "$(DEVICE)" $(if $(beside),,--python "$(PYTHON)")
	$(if $(beside),@python3 tools/setup_environment.py $(beside) --python "$(PYTHON)")
	$(if $(EXTRA),@python3 tools/setup_extras.py $(EXTRA))
lock: ## compile requirements/*.in (ARGS=--upgrade)
	python3 tools/setup_locks.py $(ARGS)
sources: setup ## fetch and verify the pinned sources (ENV=today: the optional ones too)
	$(PATCHSERIES) fetch $(if $(beside),--all)

##@ Patches
apply: $(if $(VLLM)$(ASCEND),setup,sources) ## apply the series of each fetched tree (VLLM=/path, ASCEND=/path, SIGNOFF=1)
	$(call on_trees,apply $(if $(SIGNOFF),--signoff))
unapply: setup ## back to the exact tree before (VLLM=/path, ASCEND=/path)
	$(call on_trees,unapply)
status: setup ## what is applied where, and why not (VLLM=/path, ASCEND=/path)
	$(call on_trees,status)
.PHONY: trees
trees: sources
	$(PATCHSERIES) apply

##@ Check
test: trees ## every test that needs no accelerator (JOBS=0: in one process, ARGS="-k name")
	$(TEST) $(ARGS)
kills: setup ## kill apply, unapply and refresh at random moments (N=300, ARGS="--seed 1 --only git --real")
	$(BIN)/python -m patchseries_checks.kills $(or $(N),300) $(ARGS)
test-upstream: sources ## upstream's own tests near each series, before and after it
	$(PATCHSERIES) test-upstream
test-gpu: trees ## tests that need CUDA (after make setup DEVICE=cuda)
	$(BIN)/pytest --device=cuda -m gpu $(ARGS)
test-npu: trees ## tests that need an Ascend NPU (after make setup DEVICE=npu)
	$(BIN)/pytest --device=npu -m npu $(ARGS)
mutants: trees ## plant every bug of the catalogue: each must be found, 95 % in place (SET=history, ARGS=)
	$(BIN)/python -m harness_checks.mutants $(if $(SET),--set $(SET)) $(ARGS)
	$(if $(SET)$(ARGS),,$(BIN)/python -m harness_checks.transforms)
paths: trees ## lines of the encoders that no default case executes, and why (ARGS=--reasons)
	$(BIN)/python -m harness_checks.paths $(ARGS)
bench: trees ## seconds to a verdict (RUNS="edit watch fast default"), then encoders, capture, comparison, apply (ARGS=)
	$(BIN)/python -m harness_checks.bench.stages $(addprefix --run ,$(RUNS))
	$(BIN)/python -m harness_checks.bench $(ARGS)
	$(BIN)/python -m harness_checks.bench.capture
	$(BIN)/python -m harness_checks.bench.stored
	$(BIN)/python parity_tests/bench.py
lint: setup ## ruff, mypy, contracts of imports, typos and the project's own rules
	$(BIN)/ruff check tools parity_tests
	$(BIN)/ruff format --check tools parity_tests
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/typos tools parity_tests docs *.md
	$(BIN)/pytest -q parity_tests/unit/test_hygiene.py
check: lint trees ## lint, every patch with and without its code, and every test
	$(PATCHSERIES) check --red-green --jobs $(JOBS)
	$(TEST)
docs: setup ## write the generated parts of README.md and docs/ (RESULT=build/parity)
	$(BIN)/python tools/doc_sections.py $(if $(RESULT),--result "$(RESULT)")
clean: ## remove .venv, build/ and caches (fetched and patched trees and .venv-today stay)
	rm -rf .venv build .pytest_cache .ruff_cache .mypy_cache .hypothesis

help: ## this list
	@awk 'BEGIN { FS = ":.*## "; print "make TARGET [NAME=value ...]" } \
	/^##@/ { printf "\n%s\n", substr($$0, 5) } \
	/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
