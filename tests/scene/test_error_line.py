from __future__ import annotations

import errno

from splatseg_ns.scene import error_line


def test_errors_fit_in_a_line():
    assert error_line(KeyError("no view 'a'")) == "no view 'a'"
    assert error_line(RuntimeError("first\n  second\nException raised from f at g.cpp")) == "first second"
    assert error_line(RuntimeError()) == "RuntimeError"
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere/file")
    assert error_line(missing) == "/nowhere/file: no such file or directory; check the path"
