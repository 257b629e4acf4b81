"""Commands on a small file system: each succeeds or reports why not, and all succeed once there is room."""

import subprocess

import pytest

from tests.support.command_line import PROGRAM, Queuectl

SCRIPT = """
mount -t tmpfs -o size="$1"k none "$2" && cd "$2" || exit 99
command=$(printf "echo %09000d" 0)
for number in 1 2 3 4; do
    "$3" enqueue --id "job-$number" "$command" || echo "exit $?"
done
mount -o remount,size=10m "$2" || exit 99
"$3" enqueue --id afterwards true && "$3" verify
"""


@pytest.mark.parametrize("kilobytes", [16, 64, 200, 300])
def test_an_acknowledged_change_is_kept_on_a_small_disk(
    queuectl: Queuectl, namespace: list[str], kilobytes: int
) -> None:
    place = queuectl.folder / "small"
    place.mkdir()
    command = [*namespace, "sh", "-c", SCRIPT, "sh", str(kilobytes), str(place), PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=queuectl.env, timeout=120, check=False)
    assert done.returncode == 0, done
    *said, added, verdict = done.stdout.splitlines()
    acknowledged = [line for line in said if line.startswith("job-")]
    refused = [line for line in said if line == "exit 5"]
    assert len(acknowledged) + len(refused) == len(said) == 4
    assert [line.partition(".db: ")[2] for line in done.stderr.splitlines() if "cannot" in line] == [
        "the disk is full: free space there and try again; nothing that was recorded is lost"
    ] * len(refused)
    assert refused
    assert added == "afterwards"
    assert verdict.startswith(f"clean: {len(acknowledged) + 1} event")


READING = """
mount -t tmpfs -o size=400k none "$1" && cd "$1" || exit 99
"$2" enqueue --id first true && command=$(printf "echo %09000d" 0)
while "$2" enqueue "$command" > /dev/null 2>&1; do :; done
cat /dev/zero > filler 2> /dev/null
"$2" --db ../other.db enqueue true && "$2" --db ../other.db backup copy.db || echo "exit $?"
"$2" head && "$2" export ../log && wc -l < ../log
"""


def test_a_full_disk_can_still_be_read(queuectl: Queuectl, namespace: list[str]) -> None:
    place = queuectl.folder / "small"
    place.mkdir()
    command = [*namespace, "sh", "-c", READING, "sh", str(place), PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=queuectl.env, timeout=120, check=False)
    assert done.returncode == 0, done
    first, _, refused, head, lines = done.stdout.splitlines()
    assert (first, int(lines)) == ("first", int(head.split()[0]) + 1)
    assert refused == "exit 2"
    assert "queuectl: cannot write copy.db: the disk is full: free space there and try again" in done.stderr
