"""The benchmark's variants must compute the same, and its tables must come out."""

import argparse
import sys

import pytest
import torch


@pytest.fixture
def subject(root_dir, monkeypatch):
    """The benchmark's module with a small network."""
    monkeypatch.setattr(sys, 'path', [str(root_dir / 'tools'), *sys.path])
    from benchmarks import ampose
    monkeypatch.setattr(ampose, 'SIZES', dict(embed_dims=16, depth=2, num_heads=2))
    yield ampose
    for name in [name for name in sys.modules if name.split('.')[0] == 'benchmarks']:
        del sys.modules[name]


def test_variants_agree(subject):
    model, x = subject.build(), torch.randn(3, 2, 17, 2)
    with torch.inference_mode():
        outputs = {name: call(x) for name, call in subject.forward_variants(model).items()}
    reference = outputs['fp32']
    for name, out in outputs.items():
        tolerance = 0.1 if 'bf16' in name else 1e-5
        assert (out.float() - reference).abs().max() < tolerance * reference.abs().max(), name
        assert (out.dtype == torch.bfloat16) == ('bf16' in name)


def test_all_tables(subject, capsys):
    threads = torch.get_num_threads()
    try:
        subject.run(argparse.Namespace(parts=subject.PARTS, batches=[2], rounds=1))
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    assert 'nan' not in out
    cost, forward, training, share = (part.splitlines() for part in out.strip().split('\n\n'))
    assert len(cost) == 1 + len(subject.PUBLISHED)
    assert len(forward) == 7 and len(training) == 3 and len(share) == 4
    assert '1.00x' in forward[1] and '1.00x' in training[1] and '100.0 %' in share[2]
