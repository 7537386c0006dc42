"""Operation counts: against published figures, and against PyTorch's counter on the real model."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmpose_lift.models import MeshTransformer, UpliftUpsampleHead, UpliftUpsampleTransformer
from mmpose_lift.models.cost import Cost, metro_parameters, num_key_frames, uplift_upsample_cost

N351 = dict(num_tokens=71, strides=(3, 10, 3), paddings=((0, 0), (0, 0), (0, 0)))
N81 = dict(num_tokens=41, strides=(4, 4, 3), paddings=((1, 1), (0, 0), (0, 0)))
# sizes, s_in / s_out, FLOPs in M as the paper prints them, 2 x multiply-adds in M
ROWS = [(N351, 1, 1062, 1048.5), (N351, 2, 999, 987.9), (N351, 4, 966, 957.6),
        (N81, 2, 564, 559.3), (N81, 5, 543, 539.1), (N81, 10, 535, 532.3)]


@pytest.mark.parametrize('sizes, step, published, plain', ROWS)
def test_published_figures(sizes, step, published, plain):
    for centred in (True, False):
        key_frames = num_key_frames(sizes['num_tokens'], step, centred)
        cost = uplift_upsample_cost(key_frames, **sizes)
        assert cost.published / 1e6 == pytest.approx(published, rel=0.01)
    cost = uplift_upsample_cost(num_key_frames(sizes['num_tokens'], step), **sizes)
    assert round(cost.plain / 1e6, 1) == plain


def test_key_frames_of_a_window():
    assert [num_key_frames(71, step) for step in (1, 2, 4)] == [71, 35, 17]
    assert [num_key_frames(71, step, centred=False) for step in (1, 2, 4)] == [71, 36, 18]
    for centred in (True, False):
        assert [num_key_frames(41, step, centred) for step in (2, 5, 10)] == [21, 9, 5]
    assert num_key_frames(5, 9) == 1
    with pytest.raises(ValueError, match='at least 1, found 5 and 0'):
        num_key_frames(5, 0)


@pytest.mark.parametrize('real', [0, 4, 27])
@pytest.mark.parametrize('sizes', [
    dict(), dict(spatial_depth=0), dict(temporal_depth=0), dict(strides=(), paddings=()),
    dict(paddings=((0, 0), (0, 0), (1, 1))), dict(num_heads=4, mlp_ratio=3.0, num_keypoints=5)])
def test_multiply_adds_are_those_of_the_model(sizes, real):
    options = dict(num_tokens=27, strides=(3, 3, 3), paddings=None, spatial_dims=8,
                   temporal_dims=16, spatial_depth=1, temporal_depth=2, num_heads=2,
                   num_keypoints=17)
    options.update(sizes)
    sequence = options['temporal_depth'] > 0
    backbone = UpliftUpsampleTransformer(**options).eval()
    head = UpliftUpsampleHead(16, options['num_keypoints'], with_sequence=sequence)
    x = torch.randn(1, 27, options['num_keypoints'], 3)
    x[..., 2] = 0
    x[:, :real, :, 2] = 1
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        # attention weights are asked for: the counter does not know the fused kernel for CPUs
        tokens, centre, _ = backbone(x, return_attention=True)
        head((tokens, centre))
    cost = uplift_upsample_cost(real, sequence_head=sequence, **options)
    assert counter.get_total_flops() == cost.plain


def test_the_published_convention_adds_elementwise_operations():
    cost = Cost(10, 3) + Cost(1, 1) * 2
    assert (cost.multiply_adds, cost.elementwise) == (12, 5)
    assert (cost.plain, cost.published) == (24, 29)


def test_bad_sizes():
    with pytest.raises(ValueError, match='0 to 71 .*found 72'):
        uplift_upsample_cost(72)
    with pytest.raises(ValueError, match='1 paddings for 3 strides'):
        uplift_upsample_cost(3, paddings=((0, 0), ))
    with pytest.raises(ValueError, match='strided block 1 gets 1 elements, padded by'):
        uplift_upsample_cost(3, num_tokens=3)


METRO_4X = dict(intermediate_dims=(4096, 1024, 512))


@pytest.mark.parametrize('options, count', [
    (dict(), 102_256_646),
    (dict(hidden_dims=(1024, 256, 64)), 98_444_870),
    (dict(hidden_dims=(1024, 256, 64), intermediate_dims=(4096, 1024, 256)), 101_182_022),
    (dict(hidden_dims=(1024, 256, 64), intermediate_dims=(2048, 512, 128)), 83_279_942),
    (METRO_4X, 103_815_174)])
def test_metro_parameters_as_published(options, count):
    parameters = metro_parameters(**options)
    assert parameters.as_built == count
    with torch.device('meta'):
        model = MeshTransformer(**dict(dict(hidden_dims=(1024, 256, 128)), **options))
    assert sum(p.numel() for p in model.parameters()) == parameters.transformer


def test_metro_parameters_against_the_public_code(shared_dir):
    file = shared_dir / 'reference' / 'metro_mpt' / 'param_counts.json'
    if not file.is_file():
        pytest.skip('no reference/metro_mpt/param_counts.json in the shared folder')
    counts = json.loads(file.read_text())
    fixed, wide = metro_parameters(), metro_parameters(**METRO_4X)
    assert counts == {
        'encoder, intermediate = 4 x hidden, as built': wide.as_built,
        'encoder, intermediate = 4 x hidden, parameters in use': wide.transformer,
        'encoder, intermediate = 3072, as built': fixed.as_built,
        'encoder, intermediate = 3072, parameters in use': fixed.transformer,
        'unused (word, position, segment embeddings, pooler)': fixed.unused,
        'up-sampling 431 to 1723': fixed.upsampling[0],
        'up-sampling 1723 to 6890': fixed.upsampling[1],
        'image-token convolution': fixed.image_tokens,
        'network behind the backbone (4 x hidden)': wide.network}
