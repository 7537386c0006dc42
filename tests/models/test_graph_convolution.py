"""Graph convolution: against its definition, gradients, memory layout, bad input."""

from copy import deepcopy

import pytest
import torch

from mmpose_lift.geometry import normalized_adjacency
from mmpose_lift.models.layers import GraphConvolution, aggregation_matrix


@pytest.fixture
def adjacency():
    return torch.from_numpy(normalized_adjacency('h36m', 'split'))


def by_definition(layer, x, adjacency):
    """Joint by joint and edge by edge."""
    out = torch.zeros(*x.shape[:2], layer.theta.shape[2], dtype=x.dtype)
    for k, i, j in adjacency.nonzero().tolist():
        out[:, i] += adjacency[k, i, j] * (x[:, j] @ layer.theta[k])
    return out if layer.bias is None else out + layer.bias


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('rows', [1, 3])
def test_equals_definition(adjacency, rows, bias):
    torch.manual_seed(0)
    layer = GraphConvolution(6, 4, bias=bias).double()
    x = torch.randn(rows, 17, 6, dtype=torch.double)
    out = layer(x, aggregation_matrix(adjacency))
    torch.testing.assert_close(out, by_definition(layer, x, adjacency))


def test_equals_convolution_form(adjacency):
    """ST-GCN's order: a 1x1 convolution to 3C channels, then the sum over neighbours."""
    torch.manual_seed(0)
    layer = GraphConvolution(6, 4).double()
    x = torch.randn(3, 17, 6, dtype=torch.double)
    weight = layer.theta.transpose(1, 2).reshape(12, 6, 1, 1)
    grouped = torch.conv2d(x.transpose(1, 2)[:, :, None], weight).view(3, 3, 4, 17)
    expected = torch.einsum('nkcj,kij->nic', grouped, adjacency) + layer.bias
    torch.testing.assert_close(layer(x, aggregation_matrix(adjacency)), expected)


def test_information_travels_one_bone(adjacency):
    layer = GraphConvolution(2, 2).double()
    x = torch.randn(1, 17, 2, dtype=torch.double, requires_grad=True)
    layer(x, aggregation_matrix(adjacency))[0, 8].sum().backward()
    assert x.grad[0].abs().sum(-1).nonzero().flatten().tolist() == [7, 8, 9, 11, 14]


def test_gradient():
    torch.manual_seed(0)
    layer = GraphConvolution(3, 2, num_groups=2).double()
    matrix = aggregation_matrix(torch.rand(2, 4, 4, dtype=torch.double))
    x = torch.randn(2, 4, 3, dtype=torch.double, requires_grad=True)

    def call(x, theta, bias):
        return torch.func.functional_call(layer, dict(theta=theta, bias=bias), (x, matrix))

    assert torch.autograd.gradcheck(call, (x, *layer.parameters()))


def test_aggregation_matrix_interleaves_groups():
    matrix = aggregation_matrix(torch.arange(3 * 5 * 5).view(3, 5, 5))
    assert matrix.shape == (15, 5)
    assert matrix[3 * 2 + 1].tolist() == [35, 36, 37, 38, 39]  # joint 2, group 1


def test_weights_keep_their_layout(tmp_path, adjacency):
    """The matrix of the product is a view, whatever happened to the module."""
    layer = GraphConvolution(6, 4)
    torch.save(layer.state_dict(), tmp_path / 'layer.pth')
    loaded = GraphConvolution(6, 4)
    loaded.load_state_dict(torch.load(tmp_path / 'layer.pth', weights_only=True))
    trained = deepcopy(layer)
    optimizer = torch.optim.Adam(trained.parameters(), lr=0.1)
    trained(torch.randn(2, 17, 6), aggregation_matrix(adjacency.float())).sum().backward()
    optimizer.step()
    for module in (layer, loaded, deepcopy(layer), layer.bfloat16().float(), trained):
        assert module.theta.shape == (3, 6, 4)
        assert module.theta.permute(2, 0, 1).is_contiguous()
    assert not torch.equal(trained.theta, loaded.theta)
    # and a weight in the other layout gives the same result
    x, matrix = torch.randn(2, 17, 6), aggregation_matrix(adjacency.float())
    other = GraphConvolution(6, 4)
    other.load_state_dict({k: v.contiguous() for k, v in loaded.state_dict().items()}, assign=True)
    assert not other.theta.permute(2, 0, 1).is_contiguous()
    torch.testing.assert_close(other(x, matrix), loaded(x, matrix))


@pytest.mark.parametrize('shape, groups', [((2, 17, 5), 3), ((2, 16, 6), 3), ((17, 6), 3),
                                           ((2, 17, 6), 2)])
def test_bad_input(adjacency, shape, groups):
    with pytest.raises(ValueError, match=r'expected features \(N, J, 6\) .* found \('):
        GraphConvolution(6, 4)(torch.zeros(shape), aggregation_matrix(adjacency[:groups]).float())
