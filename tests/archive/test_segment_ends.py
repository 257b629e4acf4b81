"""Damage to the archive that no event shows: bytes behind a sealed segment, and a header that does not say its name."""

import pytest

from tests.campaign.damaged_queue import ARCHIVE, noticed, put, recovered, whole


def segment(number):
    """The name of a segment, by its place."""
    return sorted(name for name in whole().files if name.endswith(".ndjson"))[number]


def _another_digest(content):
    """The first digest of a segment, in its header, with another last digit."""
    at = content.index(b'"}')
    return content[: at - 1] + (b"0" if content[at - 1 : at] != b"0" else b"1") + content[at:]


DAMAGE = {
    "zeros behind a sealed segment": (1, lambda content: content + bytes(100)),
    "half a line behind a sealed segment": (0, lambda content: content + content[-300:-100].replace(b"\n", b"")),
    "a header in the middle without its name": (-2, lambda content: content.replace(b'"queuectl"', b'"queuect1"', 1)),
    "a header in the middle of another log": (-2, lambda content: content.replace(b'"log_id":"', b'"log_id":"0', 1)),
    "a header in the middle with another digest": (-2, _another_digest),
    "a header without its name": (-1, lambda content: content.replace(b'"queuectl"', b'"queuect1"', 1)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_it_is_reported_and_repaired(tmp_path, what):
    number, change = DAMAGE[what]
    name = segment(number)
    files = {**whole().files, name: change(whole().files[name])}
    assert files[name] != whole().files[name]
    assert noticed(put(files, str(tmp_path / "q")))
    assert recovered(put(files, str(tmp_path / "q"))) == whole().contents


def test_a_torn_end_of_the_archive_is_no_damage(tmp_path):
    assert all(ARCHIVE in segment(number) for number in (0, -1))
    files = {**whole().files, segment(-1): whole().files[segment(-1)] + b'{"position":'}
    assert not noticed(put(files, str(tmp_path / "q")))
