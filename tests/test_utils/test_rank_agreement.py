import threading
import time

import pytest
import torch.distributed as dist

from mms_plugin.utils.rank_agreement import RankAgreement


def meet_all(failures, steps=1, **kwargs):
    """What each rank is told, and how long it took; ``failures`` by step and rank."""
    store, world_size = dist.HashStore(), len(failures[0])
    answers = [[] for _ in range(world_size)]

    def work(rank):
        agreement = RankAgreement(
            dist.PrefixStore("dry_run", store), rank, world_size, **kwargs
        )
        for step in failures:
            answers[rank].append(agreement.meet(step[rank]))

    threads = [threading.Thread(target=work, args=(r,)) for r in range(world_size)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return answers, time.monotonic() - began


def test_all_go_on_together():
    answers, _ = meet_all([(None, None, None)] * 4)
    assert answers == [[None] * 4] * 3


def test_one_failure_is_told_to_all():
    answers, took = meet_all([(None,) * 4, (None, None, "rank 2 is full", None)])
    assert answers == [[None, "rank 2 is full"]] * 4
    assert took < 20  # nobody waits for the grace to end


def test_several_failures():
    answers, took = meet_all([("a", "b", None)])
    assert answers[:2] == [["a"], ["b"]] and answers[2][0] in ("a", "b")
    assert took < 20


def test_a_failed_rank_does_not_wait_for_one_that_cannot_answer():
    agreement = RankAgreement(dist.HashStore(), 0, 2, grace=0.05)
    began = time.monotonic()
    assert agreement.meet("full") == "full"
    assert 0.05 <= time.monotonic() - began < 10


def test_a_rank_that_never_comes_is_an_error():
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    agreement = RankAgreement(dist.HashStore(), 1, 2, clock=lambda: now[0], sleep=sleep)
    with pytest.raises(RuntimeError, match="rank 1 has waited 1800 s"):
        agreement.meet()
    assert 1800 <= now[0] < 1801


def test_alone():
    alone = RankAgreement.of_process_group("name")
    assert alone.meet() is None and alone.meet("full") == "full"
