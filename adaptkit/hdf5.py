"""HDF5 files may point into other files: an array that is not in the file itself is not read."""

from __future__ import annotations

from typing import Any


def is_elsewhere(dataset: Any, file: Any) -> bool:
    """Its numbers lie in another file: by a chain of links, as external storage, or as a virtual data set.

    A download could so name any file of the user, and its content would end up in a store.

    Args:
        dataset: an h5py.Dataset, as `file[name]` gave it.
        file: the h5py.File that was opened.
    """
    return bool(dataset.external or dataset.is_virtual or dataset.file.filename != file.filename)


def leaves(file: Any, name: str) -> bool:
    """Some step on the way to `file[name]` is a link into another file.

    Args:
        file: an open h5py.File.
        name: `key` or `group/key`.
    """
    import h5py

    parts = name.strip("/").split("/")
    steps = ("/".join(parts[: length + 1]) for length in range(len(parts)))
    return any(isinstance(file.get(step, getlink=True), h5py.ExternalLink) for step in steps)
