"""The benchmark's variants must compute the same, and its tables must come out."""

import argparse
import sys

import pytest
import torch


@pytest.fixture
def subject(root_dir, monkeypatch):
    """The benchmark's module with one small network."""
    monkeypatch.setattr(sys, 'path', [str(root_dir / 'tools'), *sys.path])
    from benchmarks import uplift_upsample
    network = uplift_upsample.Network(9, 2, (3, 3), ((1, 1), (1, 1)), {2: 10, 4: 9})
    monkeypatch.setattr(uplift_upsample, 'NETWORKS', {17: network})
    yield uplift_upsample
    for name in [name for name in sys.modules if name.split('.')[0] == 'benchmarks']:
        del sys.modules[name]


def test_skipping_changes_nothing(subject):
    network = subject.NETWORKS[17]
    model = subject.build(network)
    x = subject.windows(network, 4, 3)
    assert x[0, :, 0, 2].tolist() == [1, 0, 1, 0, 1, 0, 1, 0, 1]
    with torch.no_grad():
        theirs = model.head.predict_center(subject.all_frames_features(model, x))
        torch.testing.assert_close(subject.centre_poses(model, x), theirs)


def test_all_tables(subject, capsys):
    args = argparse.Namespace(parts=subject.PARTS, receptive_fields=[17], batch=2, rounds=1,
                              clip_frames=21, clip_sample=21)
    threads = torch.get_num_threads()
    try:
        subject.run(args)
    finally:
        torch.set_num_threads(threads)
    out = capsys.readouterr().out
    assert 'nan' not in out
    cost, speed, skip, clip = (part.splitlines() for part in out.strip().split('\n\n'))
    for row in cost[3:]:
        plain, counted = row.split()[3:5]
        assert plain == counted, 'formula and PyTorch counter agree'
    assert [row.split()[1] for row in speed[1:]] == ['2', '4']
    assert [row.split()[2] for row in skip[1:]] == ['forward', 'training'] * 2
    assert all(float(row.split()[-1]) < 1e-5 for row in skip[1::2])
    # frames at once and one by one: every frame of the grid, borders included
    exact, low = ([float(row.split()[5]) for row in clip if row.split()[0] == name]
                  for name in ('float32', 'bfloat16'))
    assert len(exact) == len(low) == 2 and max(exact) < 1e-4 and 0 < max(low) < 0.5
