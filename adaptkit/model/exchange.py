"""Models that read each other's blocks, run in step: each in a thread of its own, one at a time.

A forward cannot stop in its middle and go on later, except in a thread. So every model of an exchange has one. Exactly
one runs at a time, until it asks for a block that has not returned yet; then the first that can go on does. The order
is a function of the models alone, and so are the random numbers they draw. Why threads: docs/decisions/0047.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import overrides
from torch.utils import _python_dispatch as dispatching

from adaptkit.errors import SiteError
from adaptkit.sides import Side

T = TypeVar("T")
Blocks = dict[str, Side]  # address -> what a block returned
Show = Callable[[Mapping[str, Side]], Mapping[str, Side]]  # what a model's block returned, as other models see it


class Stopped(BaseException):
    """Ends a model's forward because another one failed. No `except Exception` on the way holds it up."""


class Met(Blocks):
    """The blocks as one model of an exchange sees them: it waits for those of the others, and shows them its own."""

    def __init__(self, exchange: Exchange[Any], name: str, known: Mapping[str, Side], show: Show) -> None:
        super().__init__(known)
        self.exchange, self.name, self.show = exchange, name, show

    def get(self, place: str, default: Any = None) -> Any:
        if place not in self and not self.exchange.over:
            self.exchange.wait(self.name, place)
        return super().get(place, default)

    def __setitem__(self, place: str, side: Side) -> None:
        if self.exchange.over:  # a block that is recomputed in backward; everybody has what it returned
            return
        super().__setitem__(place, side)
        self.exchange.tell(self.name, self.show({place: side}))


class Exchange(Generic[T]):
    """One forward of several models in step. Call `refuse_compiling` before.

    Args:
        parts: model -> its forward, which is given the blocks it may read.
        known: blocks that returned before.
        show: model -> how the others see what its blocks returned.
    """

    def __init__(
        self, parts: Mapping[str, Callable[[Blocks], T]], known: Mapping[str, Side], show: Mapping[str, Show]
    ) -> None:
        self.parts = parts
        self.met = {name: Met(self, name, known, show[name]) for name in parts}
        self.order = [*parts]
        self.turn = threading.Condition()
        self.running = self.order[0]
        self.wanted: dict[str, str] = {}  # of those that wait for a block
        self.results: dict[str, T] = {}
        self.shown: Blocks = {}  # what blocks returned, as other models see it
        self.ended: set[str] = set()
        self.failure: BaseException | None = None

    @property
    def over(self) -> bool:
        return len(self.ended) == len(self.order)

    def run(self) -> dict[str, T]:
        """What every model returned. An exception of one ends them all, and is raised here.

        Raises:
            SiteError: a block that others wait for did not run.
        """
        *others, last = self.order
        settings = settings_of_thread()
        threads = [threading.Thread(target=self.work, args=(name, settings)) for name in others]
        for thread in threads:
            thread.start()
        try:
            self.work(last, ExitStack)
        finally:
            for thread in threads:
                thread.join()
        if self.failure is not None:
            raise self.failure
        return self.results

    def work(self, name: str, settings: Callable[[], AbstractContextManager[Any]]) -> None:
        try:
            self.until(name)
            with settings():
                self.results[name] = self.parts[name](self.met[name])
        except Stopped:
            pass
        except BaseException as error:  # an interruption too: the other threads must end before it goes on
            self.failure = self.failure or error
        finally:
            with self.turn:
                self.ended.add(name)
                self.pass_on()

    def wait(self, name: str, place: str) -> None:
        """Let others run until a block has returned."""
        self.wanted[name] = place
        with self.turn:
            self.pass_on()
        self.until(name)
        del self.wanted[name]

    def tell(self, name: str, blocks: Mapping[str, Side]) -> None:
        self.shown |= blocks
        for other, met in self.met.items():
            if other != name:
                dict.update(met, blocks)

    def until(self, name: str) -> None:
        """Block this thread until it is its turn."""
        with self.turn:
            self.turn.wait_for(lambda: self.failure is not None or self.running == name)
        if self.failure is not None:
            raise Stopped

    def pass_on(self) -> None:
        """The first model that can go on has its turn."""
        waiting = [name for name in self.order if name not in self.ended]
        ready = [name for name in waiting if self.wanted.get(name, "") in ("", *self.met[name])]
        if ready:
            self.running = ready[0]
        elif waiting and self.failure is None:
            place = self.wanted[waiting[0]]
            self.failure = SiteError(
                f"{place} did not return in this forward, and {waiting[0] or 'the backbone'} waits for it.",
                hint="Read blocks that always run.",
            )
        self.turn.notify_all()


def refuse_compiling() -> None:
    """Raise SiteError where torch traces the forward: it would follow one thread, and see no other."""
    if torch.compiler.is_compiling():
        raise SiteError(
            "models that read each other's blocks run in step, which torch.compile and torch.export cannot follow.",
            hint="Run the model as it is, or let only one of the two models read the other.",
        )


def settings_of_thread() -> Callable[[], AbstractContextManager[Any]]:
    """What torch keeps for each thread (gradients, autocast, modes, streams), to be set in another one."""
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    devices = ["cpu"] if accelerator is None else ["cpu", accelerator.type]
    casts = [(name, torch.get_autocast_dtype(name), torch.is_autocast_enabled(name)) for name in devices]
    cache = torch.is_autocast_cache_enabled()
    stream = torch.accelerator.current_stream() if accelerator is not None else None
    modes = dispatching._get_current_dispatch_mode_stack()
    functions = overrides._get_current_function_mode_stack()
    c: Any = torch._C
    saved: Any = c._autograd._top_saved_tensors_default_hooks(False)

    @contextmanager
    def settings() -> Iterator[None]:
        with ExitStack() as stack:
            if stream is not None:
                stack.enter_context(stream)
            stack.enter_context(torch.inference_mode(inference))
            stack.enter_context(torch.set_grad_enabled(grad))
            for name, dtype, enabled in casts:
                stack.enter_context(torch.autocast(name, dtype, enabled, cache))
            if saved is not None:
                stack.enter_context(torch.autograd.graph.saved_tensors_hooks(*saved))
            for mode in functions:  # pushed and not entered: entering a counter of operations sets it back
                overrides._push_mode(mode)
                stack.callback(overrides._pop_mode)
            for mode in modes:
                dispatching._push_mode(mode)
                stack.callback(dispatching._pop_mode, getattr(mode, "_mode_key", None))
            yield

    return settings
