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
            RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer"),
            "another rank has ended",
        ),
    ],
)
def test_faults_from_outside(error, words):
    fault = explain_fault(error)
    assert fault.outside
    assert re.search(words, fault.text)


@pytest.mark.parametrize(
    "error", [ValueError("sizes is empty"), RuntimeError("shapes do not match")]
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


def test_settings_without_samples():
    fault = raised_by(SettingError("size 8 is too small"))
    assert fault.outside
    assert fault.text == "the settings give no sample: size 8 is too small"
