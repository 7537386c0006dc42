"""Parameters of a surface: exact for a body's own surface, close for noisy and smooth ones."""

import pytest
import torch

from mmpose_lift.geometry.torch_rotations import axis_angle_to_matrix
from mmpose_lift.models.body import BodyModel, MeshSampling, fit_surface


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


@pytest.fixture(scope='module')
def example(body):
    """Betas, rotations, translation and vertices of 20 bodies, turned and bent in any way."""
    torch.manual_seed(0)
    turns = torch.nn.functional.normalize(torch.randn(20, 24, 3), dim=-1) * torch.rand(20, 24, 1)
    turns[:, 0] = 2 * torch.randn(20, 3)
    betas, transl = torch.randn(20, body.num_shapes), torch.randn(20, 3)
    rotmats = axis_angle_to_matrix(turns)
    return betas, rotmats, transl, body(betas, rotmats)[0] + transl[:, None]


def distance(first, second):
    return (first - second).norm(dim=-1).mean(-1)


def surface(body, fit):
    return body(fit.betas, fit.rotmats)[0] + fit.transl[:, None]


def test_own_surface_is_found_again(body, example):
    betas, rotmats, transl, vertices = example
    fit = fit_surface(body, vertices)
    torch.testing.assert_close(fit.error, distance(surface(body, fit), vertices))
    assert fit.error.max() < 2e-4
    torch.testing.assert_close(fit.betas, betas, atol=0.1, rtol=0)
    torch.testing.assert_close(fit.rotmats, rotmats, atol=0.01, rtol=0)
    torch.testing.assert_close(fit.transl, transl, atol=1e-3, rtol=0)
    unit = fit.rotmats @ fit.rotmats.transpose(-1, -2)
    torch.testing.assert_close(unit, torch.eye(3).expand_as(unit), atol=1e-5, rtol=0)
    assert torch.linalg.det(fit.rotmats).min() > 0


@pytest.mark.parametrize('noise, limit', [(0.01, 0.003), (0.02, 0.006)])
def test_noise_averages_out(body, example, noise, limit):
    vertices = example[-1]
    torch.manual_seed(1)
    fit = fit_surface(body, vertices + noise * torch.randn_like(vertices))
    assert distance(surface(body, fit), vertices).max() < limit
    assert fit.betas.abs().max() < 5


def test_smooth_surface_comes_nearer_to_the_body_it_was_made_from(body, example):
    vertices = example[-1]
    sampling = MeshSampling.from_body(body, cache=False)
    smooth = sampling.up(sampling.down(vertices))[-1]
    fit = fit_surface(body, smooth)
    assert distance(surface(body, fit), vertices).mean() < distance(smooth, vertices).mean()
    assert fit.betas.abs().max() < 5


def test_turned_and_moved_surface_gives_the_same_body(body, example):
    vertices = example[-1][:4]
    turn = axis_angle_to_matrix(torch.tensor([0.3, 3.0, -0.5]))  # upside down
    shift = torch.tensor([1., -2, 5])
    first, second = fit_surface(body, vertices), fit_surface(body, vertices @ turn.T + shift)
    torch.testing.assert_close(second.betas, first.betas, atol=0.02, rtol=0)
    torch.testing.assert_close(second.rotmats[:, 1:], first.rotmats[:, 1:], atol=3e-3, rtol=0)
    torch.testing.assert_close(second.rotmats[:, 0], turn @ first.rotmats[:, 0],
                               atol=3e-3, rtol=0)


def test_bodies_do_not_depend_on_their_neighbours(body, example):
    vertices = example[-1]
    fit = fit_surface(body, vertices, iterations=2)  # more than are fitted at once
    for row in (0, 17):
        alone = fit_surface(body, vertices[row:row + 1], iterations=2)
        for first, second in zip(fit, alone):
            torch.testing.assert_close(first[row], second[0], atol=1e-3, rtol=0)


def test_more_steps_are_never_worse(body, example):
    errors = torch.stack([fit_surface(body, example[-1][:8], steps).error for steps in (0, 1, 4)])
    assert (errors[1] < errors[0]).all() and (errors[2] < errors[1] + 1e-5).all()


def test_something_that_is_no_body_stays_finite(body):
    torch.manual_seed(0)
    for vertices in (torch.randn(2, body.num_vertices, 3), torch.zeros(2, body.num_vertices, 3)):
        fit = fit_surface(body, vertices)
        assert all(tensor.isfinite().all() for tensor in fit)


def test_no_gradient_half_precision_and_empty_batch(body, example):
    vertices = example[-1][:2].clone().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        fit = fit_surface(body, vertices)
    assert fit.error.max() < 2e-4 and not fit.betas.requires_grad
    assert fit_surface(body, vertices[:0]).rotmats.shape == (0, 24, 3, 3)


def test_wrong_vertices(body):
    with pytest.raises(ValueError, match=r'vertices: expected shape \(B, 6890, 3\).*\(6890, 3\)'):
        fit_surface(body, torch.zeros(6890, 3))
    with pytest.raises(ValueError, match='mismatched mesh sizes'):
        fit_surface(body, torch.zeros(1, 431, 3))
    vertices = torch.zeros(1, 6890, 3)
    vertices[0, 5] = torch.nan
    with pytest.raises(ValueError, match='not finite'):
        fit_surface(body, vertices)
