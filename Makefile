# make demo   set up, then a file of rows by the command, with a report, the pinwheel and digits, into out/
# make test   set up, then all tests, and the examples of all docstrings
# make notebooks  set up, then execute the notebooks of examples/ and keep their pictures
# make check  set up, then lint, types and the wheel, as CI does after the tests
.PHONY: demo test notebooks check lowest clean

PYTHON ?= python3
BIN := .venv/bin

.venv/.done: pyproject.toml
	@echo "Setting up .venv (PyTorch is large: the first time takes some minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

# On networks this small a second thread gains nothing, and beside other work it waits more than it runs.
demo: export OMP_NUM_THREADS ?= 1
demo: .venv/.done
	@echo "A file of rows, a fit by the command, predictions and a page about them (a minute)"
	rm -rf out/points && mkdir -p out/points
	$(BIN)/python examples/points.py --out out/points/points.csv
	$(BIN)/pyro-vmonf fit out/points/points.csv --ignore wing --components 5 --out out/points/run
	$(BIN)/pyro-vmonf predict out/points/run out/points/points.csv --out out/points/predictions.csv
	$(BIN)/pyro-vmonf report out/points/run
	@echo "Fitting five flows to the pinwheel with one call, fit_mixture (half a minute)"
	$(BIN)/python examples/first_mixture.py --out out/pinwheel
	@echo "Fitting five masked autoregressive flows to handwritten digits 0-4"
	$(BIN)/pyro-vmonf reproduce digits --out out/digits
	@echo "Open out/points/run/report.html in a browser, and look at out/pinwheel/first-mixture-pinwheel.png"

test: export OMP_NUM_THREADS ?= 1
test: .venv/.done
	@echo "Running all tests, and the examples of all docstrings, on two processes"
	$(BIN)/pytest -n 2

notebooks: .venv/.done
	@echo "Executing the notebooks of examples/"
	$(BIN)/jupyter-execute --inplace examples/*.ipynb

check: .venv/.done
	@echo "Lint"
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@echo "Types"
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	@echo "Wheel: build it, install it elsewhere, import it from outside the repository"
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target build/wheel/site build/wheel/*.whl
	cd / && PYTHONPATH=$(CURDIR)/build/wheel/site $(CURDIR)/$(BIN)/python $(CURDIR)/tests/wheel_check.py $(CURDIR)/build/wheel/site

lowest:
	@echo "All tests with the lowest versions that pyproject.toml allows, in .venv-lowest"
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check -c tests/lowest.txt -e '.[test]'
	.venv-lowest/bin/pytest -n 2

clean:
	rm -rf .venv .venv-lowest build out
