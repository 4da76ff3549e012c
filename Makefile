# One command each. Every target first makes sure that .venv holds what the requirement files say.
PYTHON := $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
AGENT_WORDS := clientagent/translations/zh_Hans/LC_MESSAGES/fedagent
STAMP := .venv/.installed
ARGS ?=
export PYTHONUNBUFFERED = 1

.PHONY: help setup demo test test-slow check messages bench clean

help:
	@echo "make setup      .venv with everything that fedportal needs"
	@echo "make demo       portal, four demo banks and one run, live on http://127.0.0.1:8000"
	@echo "                ARGS=--exit ends with the run; ARGS=\"--scenario fraud\" is card fraud"
	@echo "make test       all tests but the slow ones;  make test-slow has the rest"
	@echo "make check      lint, types, import contract, migrations"
	@echo "make messages   the Chinese catalogues: takes in new texts, drops old ones, compiles them (needs gettext)"
	@echo "make bench      our figures, and a peer's beside them where one is installed; ARGS=NAME for one"
	@echo "make clean      removes what the build, tests and demo made; keeps .venv"

setup: $(STAMP)

$(STAMP): requirements.txt requirements-prod.txt requirements-dev.txt clientagent/pyproject.toml
	@test -n "$(PYTHON)" || { echo "fedportal needs Python 3.11 or newer on the PATH." >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Making .venv with $(PYTHON) ..."; $(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }; }
	@echo "Installing what fedportal needs into .venv (the first time takes a few minutes, mostly for torch) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-r requirements.txt -r requirements-prod.txt -r requirements-dev.txt -e ./clientagent
	@touch $(STAMP)
	@echo "Ready: .venv"

demo: setup
	@$(BIN)/python manage.py demo $(ARGS)

# Playwright's sync API and pytest-asyncio break each other in one session: two commands.
# What starts servers and agents of its own runs alone; the rest on two processors.
ALONE := tests/road tests/crash tests/scale
test: setup
	$(BIN)/python -m pytest tests -m "not slow" -p no:playwright -n 2 --dist loadscope --ignore=tests/e2e $(ALONE:%=--ignore=%) $(ARGS)
	$(BIN)/python -m pytest $(ALONE) -m "not slow" -p no:playwright $(ARGS) || [ $$? -eq 5 ]  # 5: none
	$(BIN)/python -m pytest tests/e2e -m "not slow" -n 2 --dist loadscope -p no:asyncio -W "ignore:Unknown config option" $(ARGS)

test-slow: setup
	$(BIN)/python -m pytest tests/e2e -m slow -p no:asyncio -W "ignore:Unknown config option" $(ARGS) || [ $$? -eq 5 ]  # 5: none
	$(BIN)/python -m pytest tests -m slow -p no:playwright --ignore=tests/e2e $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check

messages: setup
	$(BIN)/python manage.py makemessages -l zh_Hans --no-obsolete --no-location --no-wrap -i ".venv/*" -i "tests/*" -i "build/*" -i "clientagent/cli/*"
	msgfmt --check-format --statistics -o locale/zh_Hans/LC_MESSAGES/django.mo locale/zh_Hans/LC_MESSAGES/django.po
	$(BIN)/python locale/agent_messages.py | msgmerge --quiet --update --backup=none --no-wrap $(AGENT_WORDS).po -
	msgattrib --no-obsolete --no-wrap -o $(AGENT_WORDS).po $(AGENT_WORDS).po
	msgfmt --check-format --statistics -o $(AGENT_WORDS).mo $(AGENT_WORDS).po

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf build dist var staticfiles test-results .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf clientagent/build clientagent/dist
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
