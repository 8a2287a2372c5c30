# Every target sets up all that it needs, from a bare clone.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo pictures test test-slow test-app lint docs

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml setup.cfg $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[data,dev]"
	touch $@

demo: install
	$(BIN)/svp demo -o demo.mp4

pictures: demo
	$(BIN)/python docs/make_pictures.py demo.mp4 docs/pictures

# The networks of the tests are so small that a second thread makes them slower.
test test-slow: export OMP_NUM_THREADS = 1

# Two processes share the tests; one that has none left takes half of the other's.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test: install
	$(PYTEST)

# Notebooks from top to bottom, stages of training that are killed, svp-tiny in some minutes.
test-slow: install
	$(PYTEST) -m slow --durations 30

# Gradio wants an older Pillow than the rest is tested with: it lies over .venv, in .venv-app.
test-app: export OMP_NUM_THREADS = 1
test-app: $(VENV)-app/installed
	$(VENV)-app/bin/python -m pytest -m "slow or not slow" tests/app

$(VENV)-app/installed: $(VENV)/installed
	$(BIN)/python -m venv $(VENV)-app
	$(BIN)/python -c "import sysconfig; path = sysconfig.get_path('purelib'); \
		print(f'import site; site.addsitedir({path!r})')" \
		> $(VENV)-app/lib/$$(ls $(VENV)-app/lib)/site-packages/below.pth
	$(VENV)-app/bin/python -m pip install --quiet gradio==6.31.0 matplotlib playwright==1.65.2 \
		spaces==0.51.3
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ with the API from the docstrings, into site/; a broken link fails.
docs: install
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable ".[docs]"
	$(BIN)/mkdocs build --strict
