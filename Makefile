# Two commands: `make report` and `make test`. Each does the set-up it needs, in .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
# What Jupyter writes into a notebook and is not to be committed: outputs, counters, the kernel's Python version.
STRIP := $(BIN)/nbstripout --keep-id --extra-keys "metadata.language_info.codemirror_mode \
  metadata.language_info.file_extension metadata.language_info.mimetype metadata.language_info.nbconvert_exporter \
  metadata.language_info.pygments_lexer metadata.language_info.version"

.PHONY: help report pdf reference test test-all setup lab lint bench bench-full clean

help:
	@echo "make report   run every chapter on the built-in demo corpora and build the HTML book"
	@echo "make pdf      print the first page and the results as _build/results.pdf; needs Chromium"
	@echo "make test     run the quick tests"
	@echo "make test-all run every test: all notebooks, the book, JupyterLab in a browser"
	@echo "make setup    make .venv alone"
	@echo "make lab      open the notebooks in JupyterLab"
	@echo "make lint     check the style of code and notebooks"
	@echo "make bench    measure time and memory beside what they are compared with, on a few clips"
	@echo "make bench-full  the same at full size, for the book (an hour; 9 GB of memory)"
	@echo "make reference   make the figures of book/results anew from the real corpora (many hours; it can be stopped)"
	@echo "make clean    remove built books and caches; runs/ and .venv stay"

report: $(READY)
	$(BIN)/sernb report

pdf: report
	$(BIN)/python tools/make_pdf.py

# The figures of book/results, on the real corpora that SERNB_DATA names; stopped, it goes on where it was.
SWEEPS := waterfall paper-grid crema-1d-vs-2d faults cross-corpus trust-runs unseen-speakers
MADE := runs/reference
# The runs that the chapter on trust examines, each with the name of its tables.
TRUSTED := waterfall/augment-none_protocol-folds_channel-speech_seed-42:ravdess-speech \
  trust-runs/corpus-crema_emotions-angry+disgust+fear+happy+sad_protocol-speaker_split-60-10-30_seed-42:crema
reference: $(READY)
	@test -n "$$SERNB_DATA" || { echo "Set SERNB_DATA to the folder that holds ravdess/, crema/ and emodb/."; exit 1; }
	for name in $(SWEEPS); do \
	  $(BIN)/sernb sweep sweeps/$$name.yml -o $(MADE)/$$name && \
	  $(BIN)/python -c "from sernb import results; print(results.publish_sweep('$(MADE)/$$name', 'book/results'))" \
	  || exit 1; \
	done
	for pair in $(TRUSTED); do \
	  $(BIN)/sernb run notebooks/05_trust.ipynb -p RUN_DIR $(MADE)/$${pair%%:*} -p OTHER_CORPUS "" \
	    -o $(MADE)/trust/$${pair##*:} && mkdir -p book/results/trust/$${pair##*:} && \
	  cp $(MADE)/trust/$${pair##*:}/*.csv book/results/trust/$${pair##*:}/ || exit 1; \
	done
	for seed in 42 43 44; do \
	  $(BIN)/sernb run notebooks/07_unseen_speakers.ipynb -p CORPUS ravdess -p SEED $$seed \
	    -o $(MADE)/unseen/seed-$$seed && mkdir -p book/results/unseen/seed-$$seed && \
	  cp $(MADE)/unseen/seed-$$seed/ablation.csv $(MADE)/unseen/seed-$$seed/evidence.csv \
	    book/results/unseen/seed-$$seed/ || exit 1; \
	done
	$(BIN)/python benchmarks/matched_training.py
	$(BIN)/python benchmarks/learning_curves.py --again

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadgroup -m "not slow and not notebook and not report and not lab"

test-all: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadgroup

setup: $(READY)

# JupyterLab's own news and updates would be requested from the network; tools/labconfig answers its question about them.
lab: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" JUPYTER_CONFIG_PATH="$(CURDIR)/tools$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	  $(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/01_explore.ipynb \
	  --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	  $$([ "$$(id -u)" != 0 ] || echo --allow-root) $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/check_names.py

bench: $(READY)
	$(BIN)/python benchmarks/bench.py

bench-full: $(READY)
	$(BIN)/python benchmarks/bench.py --full --peers

clean:
	rm -rf _build .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path "./.venv/*" -prune -exec rm -rf {} +

# Done again only when what is to be installed has changed.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	  echo "sernb needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name one that you have, for example: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12"; exit 1; }
	@echo "Installing the locked packages; the first time this takes some minutes."
	if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
	  uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock && \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@$(BIN)/python -c "from sernb import audio; audio.compile_librosa()"
	@if [ -e .git ]; then git -c filter.nbstripout.clean=cat update-index -q --refresh; \
	  git config filter.nbstripout.clean '$(STRIP)'; fi
	@touch $@
