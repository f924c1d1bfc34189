# `make` alone lists what there is. Everything is installed under .local/ on first use.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install install-dashboards use-case try-use-case demo up down status doctor replay live test test-unit test-dashboard screenshots check bench-backfill bench-batch bench-scale bench-serving bench-speed bench-training drills drill-compose lock

PY := .local/venv/bin/python
STACK := $(PY) -m local_stack
# The test stack: its own data, its own ports, the same installed tools
TEST_PORT_BASE ?= 22200
BENCH_PORT_BASE ?= 22400
LIVE_PORT_BASE ?= 21600
TRY_PORT_BASE ?= 21800
# The tests refresh MySQL and look at ages when they need it: every few minutes it would slow them, or swap tables under them.
TEST_ENV := LAMBDA_DL_STATE=.local/test LAMBDA_DL_PORT_BASE=$(TEST_PORT_BASE) LAMBDA_DL_REFRESH_CRON= LAMBDA_DL_WATCH_CRON= \
  AIRFLOW__API__EXPOSE_STACKTRACE=True
# These need no Airflow, Ray, stream or predictor, which would take a third of two cores from them.
ON_FOUR_SERVERS := tests/spark_jobs tests/training tests/recovery tests/use_cases
# Jobs run on the workers of a profile that has them; a stack remembers its profile, like its ports.
FOUR_SERVERS := s3 kafka mysql metastore $(if $(filter spark-kafka,$(PROFILE)),spark-worker-1 spark-worker-2)
SERVERS_OF_spark-kafka := s3 kafka mysql metastore spark-worker-1 spark-worker-2 stream predictor
SERVERS_OF_ray-services := s3 kafka mysql metastore ray-worker-1 ray-worker-2 stream predictor predictor-2
ifdef PROFILE
export LAMBDA_DL_PROFILE := $(PROFILE)
endif
UNITS := not integration and not e2e and not dashboard and not drill
# Schemathesis gives all tests of this file one name, and pytest-xdist runs one test of a name: it runs alone.
ONE_NAME := tests/speed_service/test_api_description.py
CHECKED := include plugins/lambda_dl speed_service dashboard local_stack
# No other run of CI sees these. The rivals' packages lie in environments of their own.
CHECKED += tests/bench tests/drills tests/profiles tests/recovery --exclude 'tests/bench/speed/rivals|pytabkit_rival'

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r t h; do printf '  %-18s %s\n' "$$t" "$$h"; done

install: ## install Python packages, Java and jars under .local/ (done once; goes on where it broke off)
	@command -v python3 >/dev/null || { echo "lambda-dl: python3 is missing: install Python 3.11 or 3.12, then run the same command again" >&2; exit 1; }
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lambda-dl: $$(python3 --version) is too old: install Python 3.11 or 3.12, then run the same command again" >&2; exit 1; }
	@python3 -m local_stack.bootstrap

install-dashboards: install ## also install Superset, in an environment of its own
	@python3 -m local_stack.bootstrap --dashboards

demo: install-dashboards ## from nothing to dashboards and a printed prediction by a model trained on real flights; ARGS="--use-case NAME" for another one of the deployment
	@$(STACK) up --all --without superset superset-worker && source $${LAMBDA_DL_STATE:-.local}/conf/process.env && $(PY) -m local_stack.demo $(ARGS)

use-case: ## a use case of your own to begin with, and its tests: NAME=card_fraud (docs/use-cases.md)
	@python3 -m local_stack.new_use_case "$(NAME)"

try-use-case: install ## the tests of a use case, from its contracts to an answer of the predictor, on a stack of their own: NAME=
	@export LAMBDA_DL_STATE=.local/try LAMBDA_DL_PORT_BASE=$(TRY_PORT_BASE); trap '$(STACK) down' EXIT; \
	$(STACK) up s3 kafka mysql metastore && source .local/try/conf/process.env && \
	$(PY) -m pytest tests/use_cases/test_$(NAME).py tests/use_cases/test_$(NAME)_on_servers.py

up: install $(if $(ALL),install-dashboards) ## start the core servers (ALL=1: also the streaming job, HiveServer2, Ray and Superset; PROFILE=spark-kafka or ray-services: as a small cluster) and wait until they are healthy
	@$(STACK) up $(if $(ALL),--all)

down: ## stop all servers; the data stays
	@[ ! -x $(PY) ] || $(STACK) down

status: ## each server with its state, memory, health and address
	@[ -x $(PY) ] || { echo "lambda-dl: nothing is installed here yet: run make up" >&2; exit 1; }
	@$(STACK) status

doctor: ## say in words what is wrong with the stack's connections, and what to do: ARGS="s3 kafka"
	@[ -x $(PY) ] || { echo "lambda-dl: nothing is installed here yet: run make up" >&2; exit 1; }
	@source $${LAMBDA_DL_STATE:-.local}/conf/process.env && $(PY) -m include.doctor $(ARGS)

replay: install ## real days through the speed layer, with books at the end: FROM= TO= SPEED= ARGS="--verify --kill stream@09:00"
	@$(STACK) up $(if $(findstring verify,$(ARGS))$(findstring use-case,$(ARGS)),--all --without superset superset-worker,stream predictor) && \
	source $${LAMBDA_DL_STATE:-.local}/conf/process.env && $(PY) -m local_stack.replay \
	  $(if $(FROM),--from $(FROM)) $(if $(TO),--to $(TO)) $(if $(SPEED),--speed $(SPEED)) $(ARGS)

live: install-dashboards ## the facts of 2013 re-dated to today, in real time, on a stack of its own (.local/live)
	@LAMBDA_DL_STATE=.local/live LAMBDA_DL_PORT_BASE=$(LIVE_PORT_BASE) $(PY) -m local_stack.live $(ARGS)

test: test-unit ## all tests: units, then the real servers and one end-to-end run on a stack of their own
	@export $(TEST_ENV); $(STACK) down && rm -rf .local/test; trap '$(STACK) down' EXIT; \
	$(STACK) up $(FOUR_SERVERS) && source .local/test/conf/process.env && $(PY) -m pytest -m integration $(ON_FOUR_SERVERS) && \
	$(STACK) up --all --without superset superset-worker && source .local/test/conf/process.env && \
	$(PY) -m pytest -m "integration or e2e" $(addprefix --ignore ,$(ON_FOUR_SERVERS))

test-unit: install ## the tests that need no server
	@$(PY) -m pytest -n 2 --dist loadfile -m "$(UNITS)" --ignore $(ONE_NAME)
	@$(PY) -m pytest $(ONE_NAME)

test-dashboard: install-dashboards ## Superset in a real headless Chromium, on a stack of its own that the demo has filled with two use cases (.local/dashboard)
	@export LAMBDA_DL_STATE=.local/dashboard LAMBDA_DL_PORT_BASE=$(TEST_PORT_BASE) LAMBDA_DL_USE_CASES=flight_delay,bike_share; trap '$(STACK) down' EXIT; \
	[ -e .local/dashboard/filled ] || { $(STACK) up --all --without superset superset-worker && \
	  source .local/dashboard/conf/process.env && $(PY) -m local_stack.demo --days 21 --trials 2 && \
	  $(PY) -m local_stack.demo --use-case bike_share --days 54 --trials 2 && touch .local/dashboard/filled; } && \
	$(STACK) up superset superset-worker airflow-api && source .local/dashboard/conf/process.env && $(PY) -m pytest -m dashboard tests/dashboard

screenshots: ## put what the last `make test-dashboard` has seen of six pages into docs/images
	@cd .local/dashboard/screenshots && cp operations-now-flights.png $(CURDIR)/docs/images/operations-now.png && \
	cp model-history-quality.png $(CURDIR)/docs/images/model-history.png && \
	cp data-quality-data-quality.png $(CURDIR)/docs/images/data-quality.png && \
	cp archive-beyond-chance.png $(CURDIR)/docs/images/archive.png && \
	cp operations-now__bike_share-predictions.png $(CURDIR)/docs/images/bike-share.png && \
	cp models-and-books.png $(CURDIR)/docs/images/models-and-books.png

check: install ## lint, format and types, without changing anything
	@.local/venv/bin/ruff check .
	@.local/venv/bin/ruff format --check .
	@.local/venv/bin/mypy $(CHECKED)

bench-batch: install ## rows per second of each batch stage, beside DuckDB on the same files
	@export LAMBDA_DL_STATE=.local/bench LAMBDA_DL_PORT_BASE=$(BENCH_PORT_BASE) LAMBDA_DL_REFRESH_CRON= LAMBDA_DL_WATCH_CRON=; $(STACK) down && rm -rf .local/bench; \
	trap '$(STACK) down' EXIT; $(STACK) up --all --without superset superset-worker && source .local/bench/conf/process.env && $(PY) -m tests.bench.batch

bench-backfill: install ## the same days as one window and day by day, through Airflow, each on an empty stack: ARGS="--days 14"; RESUME=1: day by day where --limit has stopped it
	@export LAMBDA_DL_STATE=.local/bench LAMBDA_DL_PORT_BASE=$(BENCH_PORT_BASE) LAMBDA_DL_REFRESH_CRON= LAMBDA_DL_WATCH_CRON=; trap '$(STACK) down' EXIT; \
	for mode in $(if $(RESUME),days,window days); do $(if $(RESUME),true,$(STACK) down && rm -rf .local/bench) && $(STACK) up --without predictor && \
	  ( source .local/bench/conf/process.env && $(PY) -m tests.bench.backfill $$mode $(if $(RESUME),--resume) $(ARGS) ) || exit 1; done; \
	$(PY) -m tests.bench.backfill compare

bench-scale: install ## time and memory of the batch layer at 0.3, 3 and 30 million facts: ARGS="--sizes 0.3 3"
	@export LAMBDA_DL_STATE=.local/bench LAMBDA_DL_PORT_BASE=$(BENCH_PORT_BASE); $(STACK) down && rm -rf .local/bench; \
	trap '$(STACK) down' EXIT; $(STACK) up s3 kafka mysql metastore && source .local/bench/conf/process.env && $(PY) -m tests.bench.scale $(ARGS)

bench-serving: install ## MySQL under 16 analysts at rest and during refreshes of 30 days, Hive over a year beside DuckDB
	@export LAMBDA_DL_STATE=.local/bench LAMBDA_DL_PORT_BASE=$(BENCH_PORT_BASE); $(STACK) down && rm -rf .local/bench; \
	trap '$(STACK) down' EXIT; $(STACK) up s3 kafka mysql metastore hiveserver2 && source .local/bench/conf/process.env && $(PY) -m tests.bench.serving $(ARGS)

bench-speed: install ## the predictor beside five other ways to serve the same weights; model swaps; Kafka to Kafka
	@export LAMBDA_DL_STATE=.local/bench LAMBDA_DL_PORT_BASE=$(BENCH_PORT_BASE); $(STACK) down && rm -rf .local/bench; \
	trap '$(STACK) down' EXIT; $(STACK) up s3 kafka && source .local/bench/conf/process.env && $(PY) -m tests.bench.speed $(ARGS)

bench-training: install ## the network beside a tuned LightGBM and pytabkit on a year of flights; searches; ten nights: ARGS="--only quality"
	@RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 $(PY) -m tests.bench.training $(ARGS)

drills: install ## servers and jobs killed at random moments while analysts read, on a stack of its own: ARGS="--reads 100000 --seed 7"; PROFILE=spark-kafka: those of a profile
	@export LAMBDA_DL_STATE=.local/drill$(addprefix -,$(PROFILE)) LAMBDA_DL_PORT_BASE=$(BENCH_PORT_BASE); \
	$(STACK) down && rm -rf $$LAMBDA_DL_STATE; trap '$(STACK) down' EXIT; \
	$(STACK) up $(or $(SERVERS_OF_$(PROFILE)),s3 kafka mysql metastore hiveserver2) && source $$LAMBDA_DL_STATE/conf/process.env && \
	$(if $(PROFILE),$(PY) -m pytest -m drill tests/profiles/test_$(subst -,_,$(PROFILE)).py,$(PY) -m pytest -m drill $(ON_FOUR_SERVERS) tests/deployment && $(PY) -m tests.drills.serving $(ARGS))

drill-compose: install ## the services of docker-compose.yml as processes in a network of their own; needs root or user namespaces
	@$(PY) -m tests.drills.compose $(ARGS)

lock: install ## resolve each requirements.in and the jars again, and pin what comes out
	@.local/boot/bin/uv pip compile requirements.in --override override.txt --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet -o requirements.txt
	@# The predictor answers as its training did: by the same versions.
	@.local/boot/bin/uv pip compile speed_service/requirements.in --constraint requirements.txt --universal \
	  --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet -o speed_service/requirements.txt
	@.local/boot/bin/uv pip compile dashboard/requirements.in --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet -o dashboard/requirements.txt
	@$(PY) -m local_stack.lock_jars
