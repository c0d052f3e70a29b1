"""``python -m splatseg_ns.cli``, which torchrun can start as well."""

from __future__ import annotations

import sys

from splatseg_ns.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
