"""What a benchmark of the field is: where it lies, how it becomes a store, and how to make a small one like it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from adaptkit.benchmarks.stores import StoreFormat
from adaptkit.benchmarks.table import BenchmarkTable
from adaptkit.data.paths import refuse_astray
from adaptkit.data.store import FOLDER, Store, open_store
from adaptkit.data.store_writer import StoreWriter, check_target
from adaptkit.errors import DataError, UsageError, nearest
from adaptkit.kinds import BENCHMARKS, FORMATS

B = TypeVar("B", bound="type[Benchmark]")


def register(name: str) -> Callable[[B], B]:
    """Decorator: a benchmark under its name, and the format that reads what was imported of it."""

    def add(source: B) -> B:
        FORMATS.register(name, table=BenchmarkTable)(StoreFormat(source))
        return BENCHMARKS.register(name)(source)

    return add


class Benchmark:
    """A published data set, read as it is distributed.

    Attributes:
        name: as in `[data] format`.
        title: its name in papers.
        description: one line.
        url: where it can be had.
        columns: name -> one line.
        variants: the published layouts, name -> one line; the first is what `synth` writes unless asked.
        task: the table `[task.NAME]` that papers use, in one line.
        known_sums: file name -> published SHA-256.
        shares_root: its folder holds other data sets as well, so that its store is named after it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    url: ClassVar[str]
    columns: ClassVar[Mapping[str, str]]
    variants: ClassVar[Mapping[str, str]] = {}
    task: ClassVar[str] = ""
    known_sums: ClassVar[Mapping[str, str]] = {}
    shares_root: ClassVar[bool] = False

    def find(self, root: Path) -> str:
        """The variant that lies in this folder.

        Raises:
            DataError: none, or several; the message says what was expected and what was found.
        """
        raise NotImplementedError

    def read(self, root: Path, writer: StoreWriter, variant: str, **options: Any) -> None:
        """Convert the source; a subclass names its options as keyword arguments with defaults.

        Raises:
            DataError: the source is damaged or not what it should be.
        """
        raise NotImplementedError

    def synth(self, root: Path, *, variant: str, samples: int, seed: int) -> None:
        """Write a small source folder of this layout with a signal to learn; `samples` in the training split."""
        raise NotImplementedError

    @classmethod
    def options(cls) -> Mapping[str, inspect.Parameter]:
        """The options of `read`, by name."""
        parameters = inspect.signature(cls.read).parameters.values()
        named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return {p.name: p for p in parameters if p.kind in named and p.default is not p.empty}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in BENCHMARKS:
        raise UsageError(f"there is no benchmark {name!r}.", where="FORMAT", hint=nearest(name, BENCHMARKS))
    return BENCHMARKS[name]()


def import_benchmark(
    name: str,
    root: Path,
    *,
    to: Path | None = None,
    variant: str = "",
    force: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Store:
    """Convert a benchmark as it was downloaded to a store.

    Args:
        name: of the benchmark.
        root: folder of the download.
        to: folder of the store. Default: `adaptkit` below the root, `adaptkit-VARIANT` where a variant is given;
            `adaptkit-NAME`, `adaptkit-NAME-VARIANT` where other data sets share the root.
        variant: which layout to read, where several lie there.
        force: replace a store that is there.
        options: further keyword arguments of the benchmark's `read`.

    Raises:
        UsageError: an unknown benchmark, variant or option, or the store exists.
        DataError: the source is not there or damaged, or has links that leave it; then nothing is written.
    """
    source, options = find_benchmark(name), dict(options or {})
    if variant:
        check_variant(source, variant)
    for option in options:
        if option not in source.options():
            raise UsageError(
                f"{name} has no option {option!r}.", where="--option", hint=nearest(option, source.options())
            )
    if not root.is_dir():
        raise DataError("the folder does not exist.", where=str(root))
    parts = [FOLDER, name if source.shares_root else "", variant]
    folder = to or root / "-".join(part for part in parts if part)
    check_target(folder, force=force)
    refuse_astray(root)
    found = variant or source.find(root)
    with StoreWriter(folder, format=name, variant=found, root=root, force=force) as writer:
        source.read(root, writer, found, **options)
    return open_store(folder)


def synthesise(name: str, folder: Path, *, variant: str = "", samples: int = 300, seed: int = 0, force: bool = False):
    """Write a small example of a benchmark, laid out as it is downloaded.

    Raises:
        UsageError: an unknown benchmark or variant, or the folder is not empty (without `force`).
    """
    source = find_benchmark(name)
    if variant:
        check_variant(source, variant)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not force:
        raise UsageError("exists already.", where=str(folder), hint="Give --force to write into it.")
    folder.mkdir(parents=True, exist_ok=True)
    source.synth(folder, variant=variant or next(iter(source.variants), ""), samples=samples, seed=seed)


def check_variant(source: Benchmark, variant: str) -> None:
    """Raise UsageError where a benchmark has no such variant."""
    if variant not in source.variants:
        raise UsageError(
            f"{source.name} has no variant {variant!r}.", where="--variant", hint=nearest(variant, source.variants)
        )
