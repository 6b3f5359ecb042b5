"""What a training tells of adapters that do nothing, or nearly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

STILL = 1e-3  # rms(change) / rms(stream) below which an adapter is told: bfloat16 rounds the stream by more


def idle_note(adapters: Sequence[str]) -> str:
    """An adapter whose host never runs would do nothing, silently; an expert may just not have been chosen."""
    some = ", ".join(adapters[:3]) + (f" and {len(adapters) - 3} more" if len(adapters) > 3 else "")
    return f"no gradient in the first step: {some}; the backbone may make no use of these places"


def still_notes(changes: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    """One sentence for every adapter that hardly changes its stream somewhere.

    Args:
        changes: adapter -> path of its host -> rms(change) / rms(stream).
    """
    for name, places in changes.items():
        still = {path: ratio for path, ratio in places.items() if ratio is not None and ratio < STILL}
        if still:
            least = min(still, key=still.__getitem__)
            where = f"{len(still)} of its {len(places)} places" if len(places) > 1 else "its place"
            yield (
                f"adapter {name} does next to nothing: it changes the stream by less than {STILL:g} of its size at "
                f"{where} ({still[least]:.1e} at {least})."
            )


def typical(changes: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """Adapter -> the root mean square over its places; None where no ratio is defined."""
    known = {name: [ratio**2 for ratio in places.values() if ratio is not None] for name, places in changes.items()}
    return {name: (sum(squares) / len(squares)) ** 0.5 if squares else None for name, squares in known.items()}
