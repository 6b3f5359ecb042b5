"""One case within its processor time: what takes longer is a fault, however busy the machine is. And memory."""

from __future__ import annotations

import resource
import signal
import time
from pathlib import Path
from types import FrameType

from tests.fuzz.campaign import Campaign, Case


class TooSlow(BaseException):
    """Not an Exception, so that nothing on the way takes it for an error of its own."""


def tried(campaign: Campaign, number: int, seed: int, folder: Path) -> Case:
    """Case `number` of the campaign, stopped at its limit (and a second later again, where something swallowed it)."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, campaign.seconds, 1.0)
    began = time.process_time()
    try:
        case = campaign.try_case(f"{campaign.name}/{seed}/{number}", folder)
    except TooSlow:
        return Case("slow", f"took more than {campaign.seconds:g} s")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    spent = time.process_time() - began
    return case if spent <= campaign.seconds else Case("slow", f"took {spent:.1f} s")


def peak() -> float:
    """The most memory that this process took, in MiB. (On Linux `getrusage` begins with what its parent took.)"""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
