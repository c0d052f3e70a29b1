"""The picture of parts: python -m docs.transfer_pictures SHEET SHEET ...

Takes sheets that ``splatseg transfer --pictures`` has written, and puts a part of each below the other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tyro
from PIL import Image


def main(
    sheets: tyro.conf.Positional[tuple[Path, ...]],
    out: Path = Path("docs/images/transfer-tools.jpg"),
    rows: tuple[float, float] = (0.5, 1.0),
) -> None:
    """Draw them; ``rows``: from where to where of each, as shares of its height."""
    strips = []
    for path in sheets:
        sheet = np.array(Image.open(path))
        begin, end = (round(share * len(sheet)) for share in rows)
        strips.append(sheet[begin:end])
    Image.fromarray(np.concatenate(strips)).save(out, quality=80)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
