"""The optimizers that a recipe can name are those of the installed torch."""

from __future__ import annotations

import inspect

from adaptkit.recipe.optimizers import optimizer_keywords, optimizer_names


def test_optimizers_are_those_of_torch():
    import torch

    classes = {name.lower(): item for name, item in vars(torch.optim).items() if inspect.isclass(item)}
    classes = {name: item for name, item in classes.items() if issubclass(item, torch.optim.Optimizer)}
    assert set(optimizer_names()) == set(classes) - {"optimizer", "lbfgs", "muon", "sparseadam"}
    for name in optimizer_names():
        assert list(optimizer_keywords(name)) == list(inspect.signature(classes[name]).parameters)[1:]
    assert optimizer_keywords("lbfgs") == {}
