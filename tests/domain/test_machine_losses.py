"""A run that was lost with its machine: the first losses in a row cost no attempt, later ones do."""

import pytest

from queuectl.domain.commands import Exit, MachineLost
from queuectl.domain.events import Cancelled, CancelRequested, LostWorker, Released, Requeued
from tests.domain.scenario import ID, a_job, buried, claimed, completed, given, retried


def machine_lost(run=1, free=3) -> MachineLost:
    return MachineLost(ID, run, "w1", free, Exit(stdout="half"))


def lost(run, losses) -> Released:
    return Released(run=run, reason="its machine went down", machine_losses=losses, stdout="half")


def test_first_losses_in_a_row_cost_no_attempt():
    job = given(a_job(max_retries=0))
    for run in (1, 2, 3):
        job = job.and_then(claimed(run)).when(machine_lost(run)).then(lost(run, run))
        job.is_now("pending", attempts=0, machine_losses=run)
    job = job.and_then(claimed(4)).when(machine_lost(4)).then(buried(4, LostWorker("w1"), stdout="half"))
    job.is_now("dlq", attempts=1, machine_losses=0)
    job.and_then(Requeued(), claimed(5)).when(machine_lost(5)).then(lost(5, 1))


def test_a_loss_that_counts_is_retried_at_once():
    job = given(a_job(), claimed())
    job.when(machine_lost(free=0)).then(retried(1, 0, LostWorker("w1"), stdout="half")).is_now("pending", attempts=1)


@pytest.mark.parametrize("end", [retried(2), Released(run=2, reason="the worker was stopped")])
def test_any_other_end_of_a_run_resets_the_count_of_losses(end):
    given(a_job(), claimed(), lost(1, 1), claimed(2), end).is_now("pending", machine_losses=0)
    given(a_job(), claimed(), lost(1, 1), claimed(2), completed(2)).is_now("done", machine_losses=0)


def test_a_lost_job_with_a_cancel_request_is_cancelled():
    job = given(a_job(), claimed(), CancelRequested(run=1, reason="why"))
    job.when(machine_lost()).then(Cancelled(run=1, reason="why", stdout="half")).is_now("cancelled")


def test_the_loss_of_a_stale_run_records_nothing():
    given(a_job(), claimed(), completed()).when(machine_lost()).nothing()
