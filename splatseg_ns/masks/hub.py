"""Models that transformers reads, from folders or from the Hugging Face hub: safetensors alone, and nothing missing."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_FILES = "config.json and model.safetensors"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Published:
    """A family of models on the hub."""

    title: str
    """What people call it."""

    extra: str
    """Of this package: it brings what reads the models."""

    default: str
    """The name of one of them on the hub."""


def read_model(
    published: Published,
    classes: Mapping[str, str],  # of transformers, by the model types that config.json may name
    checkpoint: str | Path | None = None,
) -> Any:
    """A model with all its weights, from a folder or by its name on the hub; the family's default if none is named."""
    try:
        import transformers
        from safetensors import SafetensorError
    except ImportError as error:
        raise ImportError(
            f"{published.title} needs transformers; pip install 'splatseg_ns[{published.extra}]'"
        ) from error
    name = str(checkpoint or published.default)
    if Path(name).is_file():
        raise ValueError(f"{name}: a file; {published.title} is read from a folder with {_FILES}")
    is_folder = Path(name).is_dir()
    if not (Path(name, "config.json").is_file() if is_folder else _HUB_NAME.fullmatch(name)):
        raise FileNotFoundError(_advice(published, name))
    options: dict[str, Any] = {
        "dtype": torch.float32,
        "use_safetensors": True,
        "output_loading_info": True,
    }
    try:
        with _quiet(transformers):
            options["local_files_only"] = is_folder or _is_fetched(name)
            config, _ = transformers.PreTrainedConfig.get_config_dict(
                name, local_files_only=options["local_files_only"]
            )
            found = str(config.get("model_type"))
            if found not in classes:
                raise ValueError(f"{name}: a model of type {found}; give one of type {' or '.join(sorted(classes))}")
            model, info = getattr(transformers, classes[found]).from_pretrained(name, **options)
    except OSError as error:
        raise FileNotFoundError(_advice(published, name)) from error
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{name}: its weights cannot be read; download model.safetensors again") from error
    if info["missing_keys"] or info["mismatched_keys"]:
        raise ValueError(f"{name}: {len(info['missing_keys'])} of its weights are missing; download {_FILES} again")
    return model


def _advice(published: Published, name: str) -> str:
    return (
        f"{name}: no folder with {_FILES}, and not to be had from the Hugging Face hub; download the two from "
        f"https://huggingface.co/{published.default} (or a sibling of another size) into a folder, and give that"
    )


def _is_fetched(name: str) -> bool:
    """Whether transformers has fetched it before, and need not ask for it again."""
    from huggingface_hub import try_to_load_from_cache

    return all(isinstance(try_to_load_from_cache(name, file), str) for file in _FILES.split(" and "))


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keeps what is said of layers and of every try to reach the hub to itself."""
    noise = transformers.logging
    hub = logging.getLogger("huggingface_hub")
    before, bars, hub_before = noise.get_verbosity(), noise.is_progress_bar_enabled(), hub.level
    noise.set_verbosity_error()
    noise.disable_progress_bar()
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        noise.set_verbosity(before)
        if bars:
            noise.enable_progress_bar()
        hub.setLevel(hub_before)
