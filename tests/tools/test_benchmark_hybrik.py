"""The benchmark's variants must compute the same, and its tables must come out."""

import argparse
import sys

import pytest
import torch


@pytest.fixture
def subject(root_dir, monkeypatch):
    """The benchmark's module with small networks."""
    monkeypatch.setattr(sys, 'path', [str(root_dir / 'tools'), *sys.path])
    from benchmarks import hybrik
    monkeypatch.setattr(hybrik, 'SIDE', 64)
    monkeypatch.setattr(hybrik, 'DEPTH', 18)
    monkeypatch.setattr(hybrik, 'SIZES', dict(d_model=32, layer_width=32, num_blocks=2,
                                              num_heads=2))
    yield hybrik
    for name in [name for name in sys.modules if name.split('.')[0] == 'benchmarks']:
        del sys.modules[name]


def test_both_deconvolution_heads_regress_the_same(subject):
    feats = torch.randn(1, subject.WIDTH, 2, 2)
    with torch.inference_mode():
        published, fused = (subject.build(name).eval().regress((feats, ))
                            for name in list(subject.HEADS)[:2])
    for key, value in published.items():
        torch.testing.assert_close(fused[key], value, atol=1e-6, rtol=0)


def test_peak_memory_of_a_known_call(subject):
    x = torch.zeros(2**18)

    def call():
        y = x + 1  # 1 MiB
        z = y + 1  # 2 MiB
        del y
        return z + 1
    assert subject.peak_mib(call) == pytest.approx(2, rel=0.01)


def test_variants_that_do_not_fit_are_left_out(subject, capsys):
    assert subject.estimated_gib(subject.BASELINE, 64) == pytest.approx(10.5)
    left = subject.affordable(64, argparse.Namespace(max_gib=8))
    assert subject.BASELINE not in left and len(left) == len(subject.HEADS) - 1
    assert 'left out, needs about 10 GiB' in capsys.readouterr().out


def test_all_tables(subject, capsys):
    pytest.importorskip('smplx')
    threads = torch.get_num_threads()
    try:
        subject.run(argparse.Namespace(
            parts=subject.PARTS, batch=[1], model_batch=[2], rounds=1, max_gib=12.,
            kinematics_batch=[2], kinematics_rounds=1, compile=False))
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    assert 'nan' not in out and 'deconv, published 6,243,404' in out
    tables = [part.splitlines() for part in out.strip().split('\n\n')]
    assert [len(table) for table in tables[1:4]] == [4, 5, 5]  # forward, training, model
    assert all(table[1].count('1.00x') >= 2 for table in tables[1:4])
    assert 'inverse kinematics, batch 2' in out and '17 joints only, batch 2' in out
