"""``python -m splatseg_ns.demo [folder]``: the demo on the bundled capture."""

from __future__ import annotations

import sys

from splatseg_ns.demo.run import run_demo

if __name__ == "__main__":
    run_demo(sys.argv[1] if len(sys.argv) > 1 else "outputs/demo")
