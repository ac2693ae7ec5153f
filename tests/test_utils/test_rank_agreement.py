import threading

import pytest
import torch.distributed as dist

from mms_plugin.utils.rank_agreement import RankAgreement


def meet_all(failures, **kwargs):
    """What each rank is told; ``failures`` by step and rank."""
    store, world_size = dist.HashStore(), len(failures[0])
    answers = [[] for _ in range(world_size)]

    def work(rank):
        agreement = RankAgreement(
            dist.PrefixStore("dry_run", store), rank, world_size, **kwargs
        )
        for step in failures:
            answers[rank].append(agreement.meet(step[rank]))

    threads = [threading.Thread(target=work, args=(r,)) for r in range(world_size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return answers


def test_all_go_on_together():
    answers = meet_all([(None, None, None)] * 4)
    assert answers == [[None] * 4] * 3


def test_one_failure_is_told_to_all():
    # Nobody waits for the grace to end: ``meet_all`` would give up first.
    failures = [(None,) * 4, (None, None, "rank 2 is full", None)]
    answers = meet_all(failures, grace=3600.0)
    assert answers == [[None, "rank 2 is full"]] * 4


def test_several_failures():
    answers = meet_all([("a", "b", None)], grace=3600.0)
    assert answers[:2] == [["a"], ["b"]] and answers[2][0] in ("a", "b")


def test_a_failed_rank_does_not_wait_for_one_that_cannot_answer():
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    agreement = RankAgreement(
        dist.HashStore(), 0, 2, grace=5.0, clock=lambda: now[0], sleep=sleep
    )
    assert agreement.meet("full") == "full"
    assert 5 <= now[0] < 6


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
