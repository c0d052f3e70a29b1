"""The Nerfstudio plugin: a method to train, and every ns-* tool on runs that have a segmentation."""

from typing import Any

import numpy as np
import torch

# Nerfstudio's checkpoints hold numpy numbers (the schedulers leave them there), which torch >= 2.6 loads only if what
# they are made of is known to be harmless. Where that is defined depends on numpy's version.
_scalar: Any = np.float64(0.0).__reduce__()[0]
torch.serialization.add_safe_globals([_scalar, np.dtype, type(np.dtype("float64"))])
