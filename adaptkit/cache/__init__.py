"""What frozen models gave for samples, kept on disk: computed once for all epochs, seeds, runs and recipes.

`identity.py` knows a sample again by its values, `entry.py` (with `files.py`) holds the activations of one frozen
part, `folder.py` all of them, with a bound on their size. Knows no model: `adaptkit.model.frozen` says what is kept.
"""

from __future__ import annotations
