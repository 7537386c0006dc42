"""The eager form must compute the same as ours, and the tables must come out."""

import argparse
import sys

import pytest
import torch

from mmpose_lift.models import MeshTransformer

SIZES = dict(input_dims=(20, 16), hidden_dims=(16, 8), output_dims=(16, 3),
             intermediate_dims=(24, 24), num_layers=2, num_heads=2, max_tokens=16)


@pytest.fixture
def subject(root_dir, monkeypatch):
    """The benchmark's module with the small network in the place of the real one."""
    monkeypatch.setattr(sys, 'path', [str(root_dir / 'tools'), *sys.path])
    from benchmarks import mpt
    monkeypatch.setattr(mpt, 'REAL', mpt.SMALL)
    yield mpt
    for name in [name for name in sys.modules if name.split('.')[0] == 'benchmarks']:
        del sys.modules[name]


def test_the_eager_form_computes_the_same(subject):
    tokens, results, counts = torch.randn(2, 11, 20), [], []
    for form in (lambda x: x, subject.eager_form):
        torch.manual_seed(0)
        network = form(MeshTransformer(drop_rate=0., attn_drop_rate=0., **SIZES)).train()
        counts.append(sum(p.numel() for p in network.parameters()))
        output = network(tokens)
        output.square().mean().backward()
        results.append((output.detach(), network.blocks[0].in_proj.weight.grad))
    assert counts[0] == counts[1]
    for ours, eager in zip(*results):
        torch.testing.assert_close(ours, eager, atol=1e-6, rtol=1e-4)


def test_all_tables(subject, capsys):
    threads = torch.get_num_threads()
    try:
        subject.run(argparse.Namespace(parts=subject.PARTS, batch=2, step_batch=2, rounds=1,
                                       motion=None))
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    assert 'nan' not in out and 'inf' not in out
    step = out[out.index('training step, batch 2'):out.index('(step:')].splitlines()[1:5]
    assert [line.split('  1.00')[0] != line for line in step] == [True, False, True, False]
    assert 'ours, bfloat16' in step[3]
    busy = [float(line.split()[-2]) for line in out.splitlines() if line.endswith('%')
            and 'small network' in line or 'real sizes' in line]
    assert len(busy) == 2 and all(share > 0 for share in busy)
    published = {'HigherHRNet-W32': 28.6, 'HigherHRNet-W48': 63.8, 'HRNet-W64 (METRO)': 126.0}
    for name, count in published.items():
        [line] = [line for line in out.splitlines() if line.strip().startswith(name)]
        assert float(line.replace(name, '').split()[0]) == count
    assert 'METRO, published' in out and '102.3' in out and '98.4' in out
