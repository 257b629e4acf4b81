"""A job that tries to leave a process behind: `escape.py KIND PIDS hang|end|later`. Run as a script, not imported.

The process writes its pid to PIDS and keeps running; the job itself then hangs, ends at once, or ends after 3 s.
"""

import os
import signal
import subprocess
import sys
import time

SLEEP = ["/bin/sleep", "300"]


def linger(pids: str, kind: str) -> None:
    """Run as the process that is left behind."""
    if kind == "ignores SIGTERM":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(pids, "a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    if kind in ("closes its descriptors", "everything at once", "only its descent"):
        os.closerange(0, 4096)
    bare = kind in ("env -i", "everything at once", "only its descent")
    os.execve(SLEEP[0], SLEEP, {} if bare else os.environ)


def leave(pids: str, kind: str) -> None:
    """Start that process in the way that its kind names."""
    if kind == "python subprocess":
        child = subprocess.Popen(SLEEP, start_new_session=True)
        with open(pids, "a", encoding="ascii") as file:
            file.write(f"{child.pid}\n")
        return
    if kind == "nohup":
        subprocess.run(["/bin/sh", "-c", f"nohup sleep 300 >/dev/null 2>&1 & echo $! >> '{pids}'"], check=True)
        return
    if os.fork():
        return
    if kind != "plain child":
        os.setsid()
    if kind in ("double fork", "closes its descriptors", "everything at once") and os.fork():
        os._exit(0)
    linger(pids, kind)


def main() -> None:
    """Leave a process behind, and hang or end."""
    kind, pids, then = sys.argv[1:]
    leave(pids, kind)
    while not os.path.exists(pids) or not os.path.getsize(pids):
        time.sleep(0.01)
    time.sleep({"hang": 300, "later": 3, "end": 0}[then])


main()
