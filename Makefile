# Two commands do all the set-up: `make run` and `make test`.
PYTHON ?= python3
PORT ?= 8000
# The conversations directory to serve; without one, a small sample that ships with the project.
DIR ?= .sample/conversations

BIN := .venv/bin
SAMPLE := tests/data/conversations.tar.gz tests/data/sample.tar.gz
# The long runs: a test has as long as it takes, not the limit that it has in `make test`.
LONG := $(BIN)/python -m pytest --timeout=0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test long check coverage again format lint types contracts bench rivals filters faults machine soak audit fuzz fuzz-parsers hostile kills questions true clean

run: .venv/run $(if $(filter .sample/conversations,$(DIR)),.sample/conversations)
	@trap : INT; $(BIN)/convstore serve "$(DIR)" --port $(PORT) || [ $$? -eq 130 ]  # Ctrl-C is no error

# So many processes run the tests; WORKERS=0 for one, which shows what a test prints (PYTEST=-s). Tests wait often, so that
# three processes keep two processors busy.
WORKERS ?= 3
TESTS = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
# All tests but the long ones, or what PYTEST names, whole: PYTEST=tests/faults.
test: .venv/dev
	$(TESTS) $(if $(findstring tests/,$(PYTEST)),,-m "not long") $(PYTEST)

# The long tests alone: samples of the long runs below, tests with many processes, and those with PostgreSQL.
long: .venv/dev
	$(TESTS) -m long $(PYTEST)

check: format lint types contracts clients
	$(TESTS) $(PYTEST)

# Which lines and branches no test runs. Apart from the check, because it takes nearly twice the processor time.
coverage: .venv/dev
	$(TESTS) --cov --cov-report=term $(PYTEST)

# What failed in the last run, once more and alone, if these are at most three.
again: .venv/dev
	$(BIN)/python -m pytest -n 0 -p tests.again --last-failed --last-failed-no-failures none

format: .venv/dev
	$(BIN)/ruff format --check

lint: .venv/dev
	$(BIN)/ruff check

types: .venv/dev
	$(BIN)/mypy

contracts: .venv/dev
	$(BIN)/lint-imports

bench: export OPENHANDS_PYTHON ?= $(if $(wildcard .rivals/lib/*/site-packages/openhands/agent_server),$(CURDIR)/.rivals/bin/python)
bench: export AGENTSVIEW ?= $(wildcard $(CURDIR)/.rivals/bin/agentsview)
bench: .venv/dev
	$(BIN)/python -m tests.bench $(BENCH)

# The servers that `make bench` compares with. agent-server needs Python 3.12 or newer.
RIVALS_PYTHON ?= python3.12
rivals:
	$(RIVALS_PYTHON) -m venv .rivals
	-.rivals/bin/pip install --quiet agentsview==0.46.1
	-.rivals/bin/pip install --quiet openhands-agent-server==1.58.2 openhands-sdk==1.58.2 openhands-tools==1.58.2

# Import 2,000 damaged and hostile archives of each kind; make hostile EXAMPLES=10000 for more.
EXAMPLES ?= 2000
hostile: .venv/dev
	CONVSTORE_TEST_EXAMPLES=$(EXAMPLES) $(LONG) tests/properties/test_hostile_archives.py

# Kill a migration before each of its statements and at 100 random times, up and down; make kills KILLS=1000 for more.
KILLS ?= 100
kills: .venv/dev
	CONVSTORE_TEST_KILL_EVERY=1 CONVSTORE_TEST_KILLS=$(KILLS) $(LONG) tests/migrations -k killed

# Ask 100,000 made-up questions; make questions QUESTIONS=1000000 for more.
QUESTIONS ?= 100000
questions: .venv/dev
	CONVSTORE_TEST_QUESTIONS=$(QUESTIONS) $(LONG) -s tests/properties/test_questions.py

.PHONY: killed-writers
# Kill processes that write to shared conversations, 200 times; make killed-writers WRITER_KILLS=10000 for a release.
WRITER_KILLS ?= 200
killed-writers: .venv/dev
	CONVSTORE_TEST_WRITER_KILLS=$(WRITER_KILLS) $(LONG) -n $(WORKERS) -rP tests/faults/test_killed_writers.py

.PHONY: hosts
# Three hosts over one PostgreSQL and one directory, each in a network of its own: kill, stop and cut them off, and end
# PostgreSQL, 100 times at random; make hosts HOSTS=1000 for a release.
HOSTS ?= 100
hosts: .venv/dev
	CONVSTORE_TEST_HOSTS=$(HOSTS) $(LONG) -rP tests/faults/test_host_storm.py

.PHONY: engines
# The tests with PostgreSQL alone: also the long ones, which the check runs only with SQLite.
engines: .venv/dev
	CONVSTORE_TEST_ENGINE=postgres $(TESTS) $(PYTEST)

.PHONY: creates
# Compare all 18,875 requests to create a conversation with agent-server; OPENHANDS_PYTHON names a Python that has it.
creates: .venv/dev
	CONVSTORE_TEST_CREATE_EVERY=1 $(LONG) tests/conformance/test_creates.py

.PHONY: writers
# Sixteen processes write to one store for so many seconds.
WRITING ?= 60
writers: .venv/dev
	CONVSTORE_TEST_WRITING_S=$(WRITING) $(LONG) -s tests/faults/test_many_writers.py

.PHONY: large-events
# Read 60 events of 20 MB each in every way at once; look at memory and /health.
large-events: .venv/dev
	CONVSTORE_TEST_LARGE_EVENTS=60 $(LONG) tests/api/across/test_large_events.py

.PHONY: openings
# Open 100,000 ids for writing and look at what is kept; 200 different ones at once.
openings: .venv/dev
	CONVSTORE_TEST_IDS=100000 CONVSTORE_TEST_OPENINGS=200 $(LONG) tests/store/write/test_many_openings.py

.PHONY: installs
# Install wheel and sdist with each Python that is there, with the newest versions and the lowest; then test what is installed.
installs: .venv/dev .installed/ready
	CONVSTORE_TEST_INSTALLS=all $(LONG) tests/deploy/test_installs.py
	.installed/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not long" $(PYTEST)

# There the tests' name of the package, `app`, is an alias of the installed one.
.installed/ready: $(shell find app migrations -name '[!.]*.*' -not -name '*.pyc') pyproject.toml constraints.txt
	rm -rf .installed
	$(PYTHON) -m venv .installed
	.installed/bin/pip install --quiet --constraint constraints.txt '.[dev]'
	printf '%s\n' "$(CURDIR)/.packaging" "import package_alias; package_alias.add_alias('app', 'convstore')" \
	  > "$$(.installed/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/package_alias.pth"
	touch $@

# Random combinations of filters against a plain filter over the files.
filters: .venv/dev
	CONVSTORE_TEST_FILTERS=1500 $(LONG) tests/properties/test_filters.py

faults: .venv/dev
	$(BIN)/python -m tests.faults $(FAULTS)
	$(BIN)/python -m tests.faults.power $(POWER)
	$(MAKE) killed-writers WRITER_KILLS=1000

# Stay true: 5,000 edits by other programs, 400 faults in the database file and its log, 300 under two servers, 50 kills each of a rebuild and of a verify --fix.
TRUE_TO := CONVSTORE_TEST_EDITS=5000 CONVSTORE_TEST_FAULTS=300 CONVSTORE_TEST_DAMAGES=300 CONVSTORE_TEST_MENDING_KILLS=50
true: .venv/dev
	$(TRUE_TO) $(LONG) tests/faults/test_random_edits.py tests/faults/test_damaged_index.py tests/faults/test_damaged_again.py tests/faults/test_stale_logs.py tests/faults/test_killed_mending.py

# Whatever is done to a store, it must show what plain dictionaries say; in so many steps.
STEPS ?= 100000
machine: .venv/dev
	CONVSTORE_TEST_STEPS=$(STEPS) $(LONG) tests/properties/test_machine.py

# Mixed load over HTTP, other programs that write, and random kills, for so long.
SECONDS ?= 1800
soak: .venv/dev
	$(BIN)/python -m tests.soak --seconds $(SECONDS)

# Known vulnerabilities in the pinned dependencies; says so where it cannot ask.
audit:
	$(PYTHON) -m venv .audit
	-.audit/bin/pip install --quiet pip-audit
	.audit/bin/python -m tests.audit

# Bytes made up for each parser by atheris, which has an environment of its own (Python 3.11).
fuzz-parsers: .fuzz/ready
	.fuzz/bin/python -m tests.fuzz.parsers $(PARSERS)

.fuzz/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .fuzz
	.fuzz/bin/pip install --quiet --constraint constraints.txt --editable . atheris
	touch $@

fuzz: .venv/dev
	$(BIN)/python -m tests.fuzz $(FUZZ)

clean:
	rm -rf .venv .audit .fuzz .installed .rivals .clients .sample dist .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ .venv/run

.sample/conversations: $(SAMPLE)
	mkdir -p .sample
	for archive in $(SAMPLE); do tar -xzf $$archive -C .sample || exit; done
	touch $@

.PHONY: clients
# The real clients for tests/clients, from npm, in two minutes at most. A run goes on without them, and says so.
clients:
	@timeout 120 $(MAKE) --no-print-directory .clients/ready || \
	  echo "NOT PREPARED: npm is missing or did not get the packages; tests/clients is left out" >&2

.clients/ready: Makefile
	mkdir -p .clients
	rm -f $@
	npm install --loglevel=error --no-audit --no-fund --ignore-scripts --prefix .clients playwright-core@1.65.1 @openhands/typescript-client@1.39.0
	cd .clients && npm pack --loglevel=error @openhands/agent-canvas@1.20.0 && tar -xzf openhands-agent-canvas-1.20.0.tgz
	touch $@
