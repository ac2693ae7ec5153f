"""Errors of any data set's pipeline name the image file."""

import pickle

import pytest
import toys
from mmengine.dataset import ConcatDataset

from mms_plugin import MultiScaleDataset
from mms_plugin.multi_scale.path_in_errors import put_paths_in_errors


class Break:
    """Fails as a decoder does: without the file's name."""

    def __init__(self, error):
        self.error = error

    def __call__(self, results):
        results["img_path"] = f"/pictures/{results['i']}.jpg"
        if results["i"] == 2:
            raise self.error
        return results


def dataset(error):
    return toys.ToyDataset(num=4, pipeline=[Break(error)], test_mode=True)


@pytest.mark.parametrize("error", [AttributeError("NoneType"), OSError("truncated")])
def test_the_file_is_in_the_error(error):
    plain = dataset(error)
    with pytest.raises(type(error), match=f"^{error}$"):
        plain[2]
    named = dataset(error)
    put_paths_in_errors(named)
    put_paths_in_errors(named)
    text = f"^failed to load /pictures/2.jpg: {type(error).__name__}: {error}$"
    with pytest.raises(RuntimeError, match=text):
        named[2]
    assert named[1] == plain[1]
    # As a worker that is started afresh gets it.
    with pytest.raises(RuntimeError, match=text):
        pickle.loads(pickle.dumps(named))[2]


def test_below_wrappers():
    both = ConcatDataset([dataset(ValueError("one")), dataset(ValueError("two"))])
    put_paths_in_errors(both)
    for index, word in ((2, "one"), (6, "two")):
        with pytest.raises(ValueError, match=f"failed to load .*2.jpg.*{word}"):
            both[index]


def test_the_pipeline_stays_itself():
    named = dataset(ValueError("x"))
    transforms = named.pipeline.transforms
    put_paths_in_errors(named)
    assert named.pipeline.transforms is transforms
    assert "Break" in repr(named.pipeline)
    # Errors that name the file already, and data without one, are left alone.
    other = dataset(ValueError("see /pictures/2.jpg"))
    put_paths_in_errors(other)
    with pytest.raises(ValueError, match="^see /pictures/2.jpg$"):
        other[2]
    put_paths_in_errors([1, 2])


def test_a_multi_scale_dataset_has_it_already():
    wrapped = MultiScaleDataset(dataset(KeyError("x")))
    pipeline = wrapped.dataset.pipeline
    put_paths_in_errors(wrapped)
    assert wrapped.dataset.pipeline is pipeline
