"""Whose files a SQLite queue is made of. Who can write to a queue has its workers run anything, as whoever they are.

So what belongs to another user is only read, whatever its mode is and whoever asks; also root, whose workers would
run that user's commands as root. A folder of root's is nobody's in particular: /tmp, say.
"""

import os
from contextlib import suppress

from queuectl.store.archive.segments import folder_of

__all__ = ["foreign"]

ROOT = 0


def foreign(path: str) -> str | None:
    """What to say when the queue at `path` is not this user's own, or could be replaced by another; None: it is."""
    me = os.geteuid()
    for name in (path, f"{path}-wal", f"{path}-shm", folder_of(path), f"{path}.output", os.path.dirname(path)):
        with suppress(OSError):
            owner = os.stat(name).st_uid
            if owner != me and not (owner == ROOT and name == os.path.dirname(path)):
                return _refusal(name, owner)
    return None


def _refusal(name: str, owner: int) -> str:
    import pwd

    try:
        who = pwd.getpwuid(owner).pw_name
    except KeyError:
        who = f"#{owner}"
    return (
        f"{name} belongs to another user ({who}): the queue is only read, because who can write to it could have its"
        f" workers run anything: change it as that user (`sudo -u '{who}' queuectl …`)"
    )
