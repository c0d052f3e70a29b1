"""What users are told when something goes wrong."""

from __future__ import annotations


def error_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror.lower()}; check the path"
    # A KeyError shows its message in quotes.
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    # Torch adds its C++ stack in further lines.
    first = message.strip().partition("\nException raised from")[0]
    return " ".join(first.split()) or type(error).__name__
