"""The package's public names: each can be imported, and together they run a queue."""

import pytest

import queuectl
from queuectl.domain.events import Enqueued


@pytest.mark.parametrize("name", queuectl.__all__)
def test_each_public_name_can_be_imported(name):
    assert getattr(queuectl, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Jobs'"):
        queuectl.Jobs  # noqa: B018


def test_a_program_adds_a_job_with_the_public_names(tmp_path):
    store = queuectl.open_store(str(tmp_path / "queue.db"), queuectl.SystemClock())
    spec = Enqueued("true", "default", 0, 3, 2.0, 3_600_000_000, False, "/")
    [receipt] = queuectl.Queue(store, "me").enqueue([queuectl.NewJob(spec)])
    assert receipt.created
    assert store.tables.job(receipt.id)["command"] == "true"
    store.close()
