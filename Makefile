# `make book` builds the site, `make test` proves everything; `make help` lists the rest.
# Each target sets up what it needs and can be repeated; README.md has the plain commands.

PYTHON ?= python3
CHAPTER ?=
CLASSROOM ?= quick
ALL ?=
URL ?=
PORT ?= 8000

ifeq ($(OS),Windows_NT)
  BIN := .venv/Scripts
  GRADER := .venv-classroom/Scripts/python
else
  BIN := .venv/bin
  GRADER := .venv-classroom/bin/python
endif
RUN := $(BIN)/python

.PHONY: help book serve lab check test classroom test-classroom teaching run practice format lock address clean

help:
	@echo "make book               build the site into _build/html (sets up .venv first)"
	@echo "make serve              build it and serve it on http://localhost:$(PORT)"
	@echo "make check              what a commit needs: style, quick tests, changed pages, the site"
	@echo "make test               everything: unit tests, every notebook, strict build, site tests"
	@echo "make classroom          set up the grader in .venv-classroom (for instructors)"
	@echo "make test-classroom     all tests of the grader, with the hostile class"
	@echo "make teaching           write all figures with captions, and a deck of slides a page"
	@echo "make run                re-execute the chapters whose sources changed"
	@echo "make run ALL=1          re-execute all chapters"
	@echo "make run CHAPTER=NAME   re-execute one, such as 02_batch_norm"
	@echo "make lab                copy the practice versions to my/ and open them in JupyterLab"
	@echo "make practice           make the practice versions anew from the chapters"
	@echo "make format             format and lint code and notebooks"
	@echo "make address URL=...    set the repository's address everywhere (for a fork)"
	@echo "make lock               pin the requirements anew"
	@echo "make clean              remove the built site (the environment stays)"

book:
	@$(PYTHON) tools/environment.py site
	@$(RUN) tools/book.py

serve: book
	@echo "Serving http://localhost:$(PORT) (stop with Ctrl-C)"
	@$(RUN) -m http.server $(PORT) --directory _build/html

lab:
	@$(PYTHON) tools/environment.py all
	@$(RUN) tools/practice.py --copy
	@$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/my

check:
	@$(PYTHON) tools/environment.py all
	@$(RUN) tools/stages.py check

test:
	@$(PYTHON) tools/environment.py all
	@$(PYTHON) tools/environment.py classroom
	@$(RUN) tools/browser.py
	@$(RUN) tools/bubblewrap.py
	@$(RUN) tools/stages.py test $(CLASSROOM)

classroom:
	@$(PYTHON) tools/environment.py classroom
	@$(GRADER) tools/bubblewrap.py
	@$(GRADER) -m classroom sandbox
	@echo "Ready. What it can do: $(GRADER) -m classroom --help"

test-classroom:
	@$(PYTHON) tools/environment.py classroom
	@$(GRADER) tools/bubblewrap.py
	@$(GRADER) tools/stages.py classroom

teaching:
	@$(PYTHON) tools/environment.py classroom
	@$(GRADER) tools/teaching_pack.py

run:
	@$(PYTHON) tools/environment.py all
	@$(RUN) tools/run_chapters.py $(if $(ALL),--all) $(CHAPTER)

practice:
	@$(PYTHON) tools/environment.py all
	@$(RUN) tools/practice.py

format:
	@$(PYTHON) tools/environment.py all
	@$(RUN) -m ruff format
	@$(RUN) -m ruff check --fix

# torch is pinned by hand: PyPI's Linux wheels bring CUDA, which the lock leaves out.
lock:
	@$(PYTHON) tools/pin.py

address:
	@$(PYTHON) tools/address.py $(URL)

clean:
	rm -rf _build
