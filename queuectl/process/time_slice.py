"""Asks the scheduler for short time slices, so that the worker continues as soon as a job has started.

While the worker spawns a command it waits until the child has its own program, and by then the child often runs on the
worker's processor. With slices of the usual length (some milliseconds) the worker often has to wait until that job
blocks or ends, although another processor is free. A thread with shorter slices gets its turn sooner, but not more
time: sched_setattr(2), Linux 6.12 and later. Earlier versions ignore the length.
"""

import os
import struct

__all__ = ["take_short_slices"]

_SLICE = 100_000
"""Nanoseconds, the shortest slice that Linux accepts."""
_ATTRIBUTES = "=IIQiIQQQII"
"""`struct sched_attr`: size, policy, flags, nice, priority, runtime, deadline, period, and two limits of use."""
_RESET_ON_FORK = 1
_CALLS = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "loongarch64": 274, "ppc64le": 355, "s390x": 345}
"""The number of sched_setattr(2) by machine. C libraries older than glibc 2.41 have no function for it."""


def take_short_slices() -> bool:
    """Give the calling thread short slices. The processes and threads that it starts have slices of the usual length.

    Does nothing, and returns False, where the user has chosen another policy or a higher priority (its children would
    lose the priority together with the short slices), and where the system has no such call.
    """
    if not hasattr(os, "sched_getscheduler") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice, number = os.getpriority(os.PRIO_PROCESS, 0), _CALLS.get(os.uname().machine)
    if nice < 0 or number is None:
        return False
    import ctypes

    size = struct.calcsize(_ATTRIBUTES)
    wanted = struct.pack(_ATTRIBUTES, size, os.SCHED_OTHER, _RESET_ON_FORK, nice, 0, _SLICE, 0, 0, 0, 0)
    return bool(ctypes.CDLL(None).syscall(ctypes.c_long(number), 0, wanted, 0) == 0)
