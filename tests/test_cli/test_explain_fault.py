import errno
import re

import pytest
from torch.utils.data import DataLoader, Dataset

from mms_plugin.cli.explain_fault import explain_fault
from mms_plugin.utils.files import NotWrittenError
from mms_plugin.utils.setting_error import SettingError


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NotWrittenError(errno.ENOSPC, "a.pth cannot be written"), "make room"),
        (NotWrittenError(errno.EACCES, "a.pth cannot be written"), "let it be written"),
        (OSError(errno.ENOSPC, "No space left"), "the disk is full"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            r"process 7, was killed \(signal Killed\).* num_workers",
        ),
        (
            RuntimeError("DataLoader timed out after 60 seconds"),
            "no batch within 60 s.* raise timeout or num_workers",
        ),
    ],
)
def test_faults_from_outside(error, words):
    fault = explain_fault(error)
    assert fault.outside
    assert re.search(words, fault.text)


@pytest.mark.parametrize(
    "text",
    [
        # gloo's, most of them without the place in its sources, with which they begin.
        "Connection closed by peer [127.0.0.1]:30464",
        "Timed out waiting 20000ms for recv operation to complete",
        "Application timeout caused pair closure",
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Read error "
        "[127.0.0.1]:30464: No route to host",
        # The store's.
        "Connection reset by peer",
        "Broken pipe",
        "Timed out after 601 seconds waiting for clients. 1/2 clients joined.",
        "The client socket has timed out after 60000ms while trying to connect to "
        "(127.0.0.1, 29500).",
        "Socket Timeout",
        "wait timeout after 300000ms, keys: /default_pg/0//rank_1",
        "Wait timeout",
        "failed to recv, got 0 bytes",
        "Failed to recv, got 0 bytes. Connection was likely closed. Did the remote "
        "server shutdown or crash?",
        "Failed to send, sent 0 bytes. Connection was likely closed. Did the remote "
        "server shutdown or crash?",
        # NCCL's.
        "NCCL error: remote process exited or there was a network error",
    ],
)
def test_a_rank_that_is_lost(text, monkeypatch):
    # One process is not left by another.
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert explain_fault(RuntimeError(text)) is None
    monkeypatch.setenv("WORLD_SIZE", "2")
    fault = explain_fault(RuntimeError(text))
    assert fault.outside
    assert fault.text.startswith("another rank has ended or no longer responds")
    assert text in fault.text


@pytest.mark.parametrize(
    "error",
    [
        ValueError("sizes is empty"),
        RuntimeError("shapes do not match"),
        RuntimeError("CUDA error: the launch timed out and was terminated"),
        # Of a connection that is not the ranks'.
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    ],
)
def test_other_errors_say_it_themselves(error):
    assert explain_fault(error) is None


class Broken(Dataset):
    """Fail to load the first sample."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error


def raised_by(error, num_workers=0):
    with pytest.raises(type(error)) as caught:
        next(iter(DataLoader(Broken(error), num_workers=num_workers)))
    return explain_fault(caught.value)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_sample_that_does_not_load(num_workers):
    fault = raised_by(ValueError("a.jpg is cut short"), num_workers)
    assert not fault.outside
    assert fault.text.startswith("failed to load a sample: ValueError: a.jpg is cut")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_storage_that_does_not_answer_is_no_lost_rank(num_workers, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    error = RuntimeError("failed to load http://a/1.jpg: Connection reset by peer")
    fault = raised_by(error, num_workers)
    assert not fault.outside
    assert fault.text.startswith("failed to load a sample: RuntimeError: failed to")


def test_settings_without_samples():
    fault = raised_by(SettingError("size 8 is too small"))
    assert fault.outside
    assert fault.text == "the settings give no sample: size 8 is too small"
