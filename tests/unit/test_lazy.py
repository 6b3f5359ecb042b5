"""Every name that a package promises is there, though it is imported only when it is asked for."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

import adaptkit
from adaptkit.lazy import lazily

PACKAGES = ["adaptkit", *(found.name for found in pkgutil.walk_packages(adaptkit.__path__, "adaptkit.") if found.ispkg)]


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_promises_is_there(package: str) -> None:
    module = import_module(package)
    promised = getattr(module, "__all__", [])
    assert len(set(promised)) == len(promised)
    for name in promised:
        assert getattr(module, name) is not None
    homes = getattr(module, "_HOME", {})
    assert homes.keys() <= set(promised) <= set(dir(module))
    for name in homes:
        assert getattr(module, name) is not None


def test_another_name_is_an_attribute_error() -> None:
    find, names = lazily("adaptkit.artifact", {"merge": "merging"})
    assert "merge" in names()
    with pytest.raises(AttributeError, match=r"module 'adaptkit\.artifact' has no attribute 'marge'"):
        find("marge")
