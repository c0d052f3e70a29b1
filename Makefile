# make help lists what there is. Needs Python 3.11 or 3.12, a C++17 compiler and make; the rest is installed into .venv.

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do command -v $$p >/dev/null && \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)
# uv installs in a quarter of pip's time. It does not read pip's settings: with a package index of your own, use pip.
INSTALLER ?= uv
PYTEST_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(wildcard splatseg_ns/raster/native/*)
SANITIZED := build/sanitize
CLANG_FORMAT_SOURCES := $(wildcard splatseg_ns/raster/native/*.cpp splatseg_ns/raster/native/*.h)

.PHONY: help install test demo screenshots lint format sanitize wheel clean

help:
	@echo "make install       the package and what it needs, in .venv"
	@echo "make demo          install, and run the main job on a small scene"
	@echo "make test          install with the test tools, and run the tests (PYTEST_ARGS='-k ply' for some of them)"
	@echo "make screenshots   the pictures of the viewer in docs/images; needs Chromium"
	@echo "make lint          style, types and C++ format"
	@echo "make format        put style and C++ format right"
	@echo "make sanitize      the engine's tests with the address and undefined-behaviour sanitizers"
	@echo "make wheel         wheel and sdist in dist/"
	@echo "make clean         remove .venv and what was built"

$(BIN)/$(INSTALLER): | $(BIN)/python
	$(if $(filter uv,$(INSTALLER)),$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; name it with make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

ifeq ($(INSTALLER),uv)
INSTALL := UV_HTTP_TIMEOUT=300 $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -b constraints.txt
else
INSTALL := PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install
endif

# One stamp per set of extras: a second call finds it and installs nothing.
$(VENV)/.installed: $(SOURCES) | $(BIN)/$(INSTALLER)
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-%: $(SOURCES) | $(BIN)/$(INSTALLER)
	$(INSTALL) -e ".[$*]"
	touch $@ $(VENV)/.installed $(if $(filter dev,$*),$(VENV)/.installed-test)

install: $(VENV)/.installed

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

demo: $(VENV)/.installed
	$(BIN)/python -m splatseg_ns.demo

screenshots: $(VENV)/.installed-test
	$(BIN)/python -m docs.screenshots

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/clang-format --dry-run --Werror $(CLANG_FORMAT_SOURCES)

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CLANG_FORMAT_SOURCES)

# The sanitizers' libraries must be there before Python is; torch and Python themselves leak, so leaks are not looked for.
# -S keeps the editable install out, which would put the usual engine in the place of the sanitized one.
SANITIZED_PYTHON = LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	PYTHONPATH=.:$$($(abspath $(BIN)/python) -c "import sysconfig; print(sysconfig.get_path('purelib'))") \
	$(abspath $(BIN)/python) -S

sanitize: $(VENV)/.installed-dev
	$(BIN)/cmake -S . -B $(SANITIZED)/build -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DSPLATSEG_SANITIZE=ON \
		-DPython_EXECUTABLE=$(abspath $(BIN)/python) -Dnanobind_DIR=$$($(BIN)/python -m nanobind --cmake_dir)
	$(BIN)/cmake --build $(SANITIZED)/build
	rm -rf $(SANITIZED)/tree && mkdir -p $(SANITIZED)/tree
	cp -r splatseg_ns tests $(SANITIZED)/tree
	cp $(SANITIZED)/build/_native*.so $(SANITIZED)/tree/splatseg_ns/raster
	cd $(SANITIZED)/tree && $(SANITIZED_PYTHON) -c \
		"from splatseg_ns.raster import _native as n; assert n.__file__.startswith('$(abspath $(SANITIZED))'), n.__file__"
	cd $(SANITIZED)/tree && $(SANITIZED_PYTHON) -m pytest tests/raster -c $(abspath pyproject.toml) --rootdir . \
		-p no:cacheprovider -k "not cuda" $(PYTEST_ARGS)

wheel: $(VENV)/.installed-dev
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist
