"""A schedule: the learning rate halves every so many steps."""

from adaptkit.kinds import SCHEDULES, Count


@SCHEDULES.register("halving")
def halving(step: int, *, every: Count = 4) -> float:
    """Halves every so many steps.

    Args:
        every: steps.
    """
    return 0.5 ** (step // every)
