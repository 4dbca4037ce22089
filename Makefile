# Tasks of this project. Everything is installed in .venv; continuous integration runs the same tasks.
#
#   make demo     install, run a recorded project and print the location of the results
#   make build    compile the kernels after a change of their sources; runs do that, too, where [test] is installed
#   make test     install, then run the fast tests, about two and a half minutes on two cores; the slowest are listed
#   make lint     check style and formatting         make types    check types
#   make golden   compare with results recorded from ilastik
#   make slow     run the slow tests
#   make fuzz     read damaged projects and images for a minute, or ARGS="--seconds 3600 --seed 7"; --replay FILE
#   make ptx      interpret the PTX of other architectures, or ARGS="--ptx compute_100:7 --plans 50": one of them with a
#                 seed, and so many random feature plans
#   make browser  test the page of --report_html in Chromium; CHROMIUM names one
#   make napari   install napari in .venv-napari and test the plugin; one test needs Xvfb, which XVFB names
#   make docs     build the documentation site in docs/site
#   make bench    measure                            make gpu      run tests that need a CUDA device
#   make gpu bench-gpu  measure on one first, then run these tests: ten minutes at most, results in gpu-results
#   make gpu-emulated   run these tests without one, on emulated GPUs; with SLOW=1 also the slow ones
#   make installed      build the wheel where there is no compiler, install it alone, compare with recorded results
#   make arm            run the wheel for Linux on aarch64 under qemu-user, on Debian 12 on x86-64: doctor, recorded
#                       results, labels; six CPU minutes after the build, half a gigabyte in .venv-arm
#   make wheels         build the wheels of all platforms in dist, on Linux on x86-64, and inspect them; the code for
#                       Windows is run on Linux

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-results
# Extra arguments for pytest: make test ARGS="-k export"
ARGS ?=
# Extras for GPUs: cuda13, cuda12 for older drivers; with nvForest cuda13,rapids13
GPU ?= cuda13

# Environment with CuPy for tests on emulated GPUs. It sees the packages of .venv, which stays without CuPy.
EMULATED := .venv-emulated

# Environment with napari and Qt, 1.1 GB that no other task needs.
NAPARI := .venv-napari

# Environment with the wheel and without numba, and what the tests of recorded results need in it.
INSTALLED := .venv-installed
TOOLS := pytest pytest-timeout pytest-xdist hypothesis scipy

# Tests that compare with recorded results and need nothing but the wheel and these tools.
RECORDED := tests/workflows/test_pixel_golden.py tests/workflows/test_object_golden.py

# Environment with an aarch64 Python, and what is fetched for it.
ARM := .venv-arm

PLATFORMS := linux-x86_64 linux-aarch64 macos-arm64 macos-x86_64 windows-x86_64

.PHONY: demo build installed wheels arm browser napari docs test lint types fuzz ptx bench bench-objects bench-gpu golden slow gpu gpu-emulated clean

demo: $(VENV)/ready
	@mkdir -p $(DEMO)
	$(BIN)/pixelforest --headless --project=tests/golden/px2d_gray/project.ilp \
	    --export_source="Probabilities,Simple Segmentation" \
	    --output_filename_format="$(DEMO)/{nickname}_{result_type}.h5" tests/golden/px2d_gray/raw.png
	$(BIN)/pixelforest --headless --project=tests/golden/px2d_gray/project.ilp --quiet \
	    --export_source="Simple Segmentation" --output_format=png \
	    --pipeline_result_drange="(1,2)" --export_drange="(0,255)" \
	    --output_filename_format="$(DEMO)/{nickname}_segmentation.png" tests/golden/px2d_gray/raw.png
	@echo
	@echo "The results are in $(CURDIR)/$(DEMO):"
	@ls $(DEMO)
	@echo "Compare raw_segmentation.png with the input tests/golden/px2d_gray/raw.png."

build: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --no-deps --editable .

# PATH has no compiler and no linker, so the wheel brings its own linker while it is built.
installed: $(VENV)/bin/python
	rm -rf $(INSTALLED) build/library && $(PYTHON) -m venv $(INSTALLED)
	PATH=$(CURDIR)/$(INSTALLED)/bin $(CURDIR)/$(INSTALLED)/bin/python -m pip wheel --quiet --no-deps \
	    --wheel-dir $(INSTALLED) .
	$(INSTALLED)/bin/python -m pip install --quiet $(INSTALLED)/*.whl $(TOOLS)
	! $(INSTALLED)/bin/python -m pip show --quiet numba llvmlite
	$(INSTALLED)/bin/pixelforest doctor --device=cpu
	$(INSTALLED)/bin/python -m pytest -n auto $(RECORDED) tests/test_old_numba.py

arm: $(VENV)/ready-wheels
	rm -f $(ARM)/wheel/*.whl
	PIXELFOREST_TARGET=linux-aarch64 $(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir $(ARM)/wheel .
	sh tests/arm/prepare.sh $(ARM) $(BIN)/python $(ARM)/wheel/*.whl $(TOOLS)
	PYTHONPATH=$(ARM)/site $(ARM)/python -m pixelforest doctor --device=cpu
	PYTHONPATH=$(ARM)/site $(ARM)/python -m pytest -n auto --timeout 3000 $(RECORDED) tests/engine/objects/test_label.py $(ARGS)

# Times of files in a wheel are that of the commit, so that equal sources make equal wheels.
wheels: export SOURCE_DATE_EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
wheels: $(VENV)/ready-test $(VENV)/ready-wheels
	rm -f dist/*.whl
	set -e; for platform in $(PLATFORMS); do \
	    PIXELFOREST_TARGET=$$platform $(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .; \
	done
	WHEELS=dist $(BIN)/python -m pytest tests/test_wheels.py
	WHEELS=dist PYTHONPATH=tests $(BIN)/python -m pytest -p support.windows_code $(RECORDED)
	$(BIN)/python -m pytest tests/contract/test_library_build.py -k two_checkouts
	@ls dist/*.whl

test: $(VENV)/ready-test $(VENV)/ready-nvforest
	$(BIN)/python -m pytest -n auto --dist worksteal --durations 10 -m "not slow and not gpu and not golden and not browser and not napari" $(ARGS)

slow: $(VENV)/ready-test $(VENV)/ready-nvforest
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow and not gpu and not golden and not browser and not napari" $(ARGS)

golden: $(VENV)/ready-test
	$(BIN)/python -m pytest -n auto -m golden $(ARGS)

fuzz: $(VENV)/ready-test
	$(BIN)/python -m tests.fuzz $(ARGS)

# See tests/support/cuda_host/machines.py.
PTX := --ptx=compute_70:2 --ptx=compute_86:3 --ptx=compute_100 --ptx=compute_120:4 --plans=5
ptx: $(VENV)/ready-test $(VENV)/ready-nvforest
	$(BIN)/python -m pytest -n auto -m ptx $(or $(ARGS),$(PTX))

# Without CuPy or a GPU every test would be skipped: doctor fails with the reason. Together with bench-gpu, which begins
# with doctor, the tests come after the measurements.
BOTH := $(and $(filter gpu,$(MAKECMDGOALS)),$(filter bench-gpu,$(MAKECMDGOALS)))
gpu: $(VENV)/ready-test $(VENV)/ready-$(GPU)
ifeq ($(BOTH),)
	$(BIN)/pixelforest doctor --device=cuda
	$(BIN)/python -m pytest -m gpu $(ARGS)
endif

# The same without a GPU: CuPy and NVRTC are real, the driver below them is a stand-in that interprets PTX. px2d_big alone
# would take a fifth of the whole.
gpu-emulated: $(EMULATED)/ready
	$(EMULATED)/bin/python -m pytest -n auto tests/emulated $(ARGS)
	PYTHONPATH=tests EMULATED_GPUS=2 EMULATED_RACES=0 $(EMULATED)/bin/python -m support.emulated_gpu.run \
	    -m pytest -n auto $(if $(SLOW),-m gpu --timeout 1500,-m "gpu and not slow" -k "not px2d_big") $(ARGS)

bench-gpu: $(VENV)/ready-bench $(VENV)/ready-$(GPU)
	$(BIN)/python bench/on_gpu.py $(if $(BOTH),--tests) $(ARGS)

lint: $(VENV)/ready-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/checks.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

# The checkout is the package, so mypy finds it under its name only through a link of that name.
types: $(VENV)/ready-lint
	@mkdir -p $(VENV)/types && ln -sfn "$(CURDIR)" $(VENV)/types/pixelforest
	cd $(VENV)/types && ../bin/mypy --config-file pixelforest/pyproject.toml --cache-dir ../mypy-cache

# Every warning is an error, and so is every reference that leads nowhere.
# A Chromium of the system is taken, else the one of Playwright; where neither can be had the tests say so and are skipped.
browser: $(VENV)/ready-test $(VENV)/ready-browser
	@test -n "$$CHROMIUM" || command -v chromium chromium-browser google-chrome chrome >/dev/null || \
	    $(BIN)/python -m playwright install chromium || \
	    echo "make browser: there is no Chromium and none can be fetched, for the reason above"
	$(BIN)/python -m pytest -m browser tests/browser $(ARGS)

napari: $(NAPARI)/ready
	$(NAPARI)/bin/python -m pytest -m napari tests/viewer $(ARGS)

docs: $(VENV)/ready-docs
	$(BIN)/python -m sphinx -W -n --keep-going -q -b html docs docs/site/html
	@echo "The site is in $(CURDIR)/docs/site/html/index.html"

bench: $(VENV)/ready-bench
	$(BIN)/python bench/table.py $(ARGS)

bench-objects: $(VENV)/ready-bench
	$(BIN)/python bench/kernels/labels.py $(ARGS)
	$(BIN)/python bench/kernels/objects.py $(ARGS)
	$(BIN)/python bench/sparse_volume.py $(ARGS)

clean:
	rm -rf $(VENV) $(EMULATED) $(INSTALLED) $(ARM) $(NAPARI) $(DEMO) build dist *.egg-info kernels/cpu/kernels.*

# Installed once for each list of dependencies; the package itself is linked, not copied.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "pixelforest needs Python 3.11 or later; name one with make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: $(VENV)/bin/python setup.py pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/ready-%: $(VENV)/ready setup.py pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	@touch $@

# Installed without dependencies, which an extra cannot do: nvForest has 1.4 GB that its tests without a GPU do not need.
$(VENV)/ready-nvforest: $(VENV)/ready tests/requirements-nvforest.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/requirements-nvforest.txt
	@touch $@

$(NAPARI)/ready: $(VENV)/bin/python setup.py pyproject.toml
	$(PYTHON) -m venv $(NAPARI)
	$(NAPARI)/bin/python -m pip install --quiet --editable ".[napari]" $(TOOLS)
	@touch $@

# CuPy looks for CUDA's libraries in its own environment, so what [cuda13] adds is installed before others are visible.
$(EMULATED)/installed: $(VENV)/ready-test setup.py pyproject.toml tests/requirements-emulated.txt
	$(BIN)/python -m venv $(EMULATED)
	$(BIN)/python -c "import importlib.metadata as m; \
	    print(*(r.split(';')[0] for r in m.requires('pixelforest') if 'cuda13' in r.split(';')[-1]), sep='\n')" \
	    > $(EMULATED)/cuda13.txt
	$(EMULATED)/bin/python -m pip install --quiet -r $(EMULATED)/cuda13.txt -r tests/requirements-emulated.txt
	@touch $@

$(EMULATED)/ready: $(EMULATED)/installed
	$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
	    > $$($(EMULATED)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/other-environment.pth
	@touch $@
