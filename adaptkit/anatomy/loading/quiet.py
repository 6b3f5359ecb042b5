"""Keep other libraries' progress bars and notices off the terminal while we call them, and only then."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

_LOUD = ("transformers", "huggingface_hub", "timm", "httpx")


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence transformers, the hub client and timm inside the block; exceptions still come through."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging as transformers_logging

    levels = {name: logging.getLogger(name).level for name in _LOUD}
    hub_bars = not are_progress_bars_disabled()
    bars = transformers_logging.is_progress_bar_enabled()
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if hub_bars:
            enable_progress_bars()
        if bars:
            transformers_logging.enable_progress_bar()
