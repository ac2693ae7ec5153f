import torch
from torch import nn

from mms_plugin.agvm.gradients import (
    all_finite,
    gradient_copies,
    gradients_of,
    tensors_as_list,
    tensors_from_list,
)


def _params():
    params = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    params[0].grad, params[2].grad = torch.full((2,), 3.0), torch.full((2,), 5.0)
    return params


def test_gradients_and_their_copies():
    params = _params()
    own, copies = gradients_of(params), gradient_copies(params)
    assert list(own) == list(copies) == [params[0], params[2]]
    assert own[params[0]] is params[0].grad
    params[0].grad += 1
    assert own[params[0]].tolist() == [4.0, 4.0]
    assert copies[params[0]].tolist() == [3.0, 3.0]


def test_whether_all_are_finite():
    params = _params()
    assert all_finite(params) and all_finite([])
    for value in (float("inf"), float("nan")):
        params[2].grad[1] = value
        assert not all_finite(params)
        assert all_finite(params[:2])
    embedding = nn.Embedding(4, 2, sparse=True)
    (embedding(torch.tensor([1])).sum() * float("inf")).backward()
    assert not all_finite(list(embedding.parameters()))


def test_tensors_return_from_a_list_to_other_parameters():
    params, others = _params(), _params()
    saved = tensors_as_list(params, gradient_copies(params))
    assert [None if t is None else t[0].item() for t in saved] == [3.0, None, 5.0]
    loaded = tensors_from_list(others, saved)
    assert {p: t[0].item() for p, t in loaded.items()} == {
        others[0]: 3.0,
        others[2]: 5.0,
    }
