"""Users' own kinds: files and modules that a recipe, the command line or an installed distribution names.

A plugin is the user's own code and runs as such. It is imported only when its user names it: in a recipe of theirs, by
`--plugin`, or by installing a distribution with the entry-point group `adaptkit.kinds`. An artifact names the plugins
it needs and never brings them.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType

from adaptkit.errors import AdaptkitError, RecipeError
from adaptkit.kinds.points import POINTS
from adaptkit.kinds.registry import registering

GROUP = "adaptkit.kinds"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A file or module of kinds, as it was imported.

    Attributes:
        name: what identifies it: the name of its file, or of its module.
        version: of the distribution it belongs to; "" for a file of its own.
        sha256: of its file.
        source: the file.
        any_version: it may stand in for another version of itself.
    """

    name: str
    version: str
    sha256: str
    source: str
    any_version: bool = False

    def as_dict(self) -> dict[str, str]:
        """What an artifact says of it: never where it lay."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}

    def fits(self, name: str, version: str, sha256: str) -> bool:
        """Whether this is the plugin that an artifact was made with."""
        same = self.version == version if version else self.sha256 == sha256
        return self.name == name and (same or self.any_version)

    def __str__(self) -> str:
        return f"{self.name} {self.version or f'sha256:{self.sha256[:8]}'}"


_loaded: dict[str, Plugin] = {}  # name -> plugin


def loaded_plugins() -> tuple[Plugin, ...]:
    """Every plugin of this process, in order of loading."""
    return tuple(_loaded.values())


def plugin_of(origin: str) -> Plugin:
    """What brought the kinds of this origin: a loaded plugin, or a module that registered them itself."""
    if origin in _loaded:
        return _loaded[origin]
    file = getattr(sys.modules.get(origin), "__file__", None)
    sha256 = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    return Plugin(origin, _version_of(origin), sha256, file or "")


def load_plugin(name: str, *, base: Path = Path(), where: str = "", any_version: bool = False) -> Plugin:
    """Import a plugin once; what it registers can be named from then on.

    A file that changed since is imported anew, and what it registered before is forgotten.

    Args:
        name: a file ("film.py", relative to `base`) or a module ("my_package.adapters").
        base: folder of the recipe.
        where: what an error names.
        any_version: artifacts that were made with another version of it may use this one.

    Raises:
        RecipeError: it is not there, fails, registers nothing, or takes a name that another plugin has.
    """
    path = base / Path(name).expanduser() if name.endswith(".py") else None
    try:
        source = path.resolve() if path is not None else _module_file(name)
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    except (OSError, ImportError, ValueError):
        hint = "Paths of files are relative to the recipe; modules are looked for where Python imports from."
        raise RecipeError(f"there is no plugin {name!r}.", where=where or name, hint=hint) from None
    label = source.name if path is not None else name
    known = _loaded.get(label)
    if known is not None and known.source != str(source):
        message = f"two plugins are called {label}: {known.source} and {source}."
        raise RecipeError(message, where=where, hint="Give one file another name.")
    plugin = Plugin(label, "" if path is not None else _version_of(name), sha256, str(source), any_version)
    if known is None or known.sha256 != sha256:
        forget_plugin(label)
        _import(plugin, name if path is None else "", where or name)
    _loaded[label] = plugin
    return plugin


def load_installed() -> None:
    """Import the plugins that installed distributions declare, once.

    Raises:
        RecipeError: one of them fails.
    """
    for entry in metadata.entry_points(group=GROUP):
        load_plugin(entry.module, where=f"entry point {entry.name} of {entry.dist.name if entry.dist else '?'}")


def _module_file(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        raise ImportError(name)
    return Path(spec.origin)


def _version_of(module: str) -> str:
    """Of the distribution that a module belongs to; "" where it belongs to none."""
    for distribution in metadata.packages_distributions().get(module.partition(".")[0], ()):
        return metadata.version(distribution)
    return ""


def _import(plugin: Plugin, module: str, where: str) -> None:
    """Run its code; what it registered is forgotten again if it fails."""
    try:
        with registering(plugin.name):
            _module(plugin, module)
        if not any(kind.origin == plugin.name for point in POINTS for kind in point.kinds.values()):
            raise RecipeError("registers nothing.", where=where, hint='Write @ADAPTERS.register("name") over a class.')
    except AdaptkitError:
        forget_plugin(plugin.name)
        raise
    except BaseException as error:
        forget_plugin(plugin.name)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise RecipeError(f"the plugin {plugin.name} fails: {_said(error, plugin.source)}", where=where) from error


def _module(plugin: Plugin, module: str) -> ModuleType:
    if module:
        return importlib.reload(sys.modules[module]) if module in sys.modules else importlib.import_module(module)
    name = f"adaptkit_plugin_{Path(plugin.source).stem}"
    spec = importlib.util.spec_from_file_location(name, plugin.source)
    assert spec is not None, "a file has a loader"
    assert spec.loader is not None, "a file has a loader"
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found  # where pickle looks for its classes
    spec.loader.exec_module(found)
    return found


def forget_plugin(label: str) -> None:
    """Take back everything that a plugin registered, as if it had never been imported."""
    _loaded.pop(label, None)
    for point in POINTS:
        for name, kind in point.kinds.items():
            if kind.origin == label:
                del point[name]


def _said(error: BaseException, source: str) -> str:
    """`ImportError: no module named x (film.py:12)`, at the last line of the plugin's own file."""
    text = str(error)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source]
    if isinstance(error, SyntaxError):
        text, lines = error.msg, [error.lineno]
    place = f" ({Path(source).name}:{lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {text}{place}"
