import numpy as np
import pytest
import torch
from mmpose.registry import METRICS

import mmpose_lift  # noqa: F401  (registers the metrics)


def scores(*samples):
    metric = METRICS.build(dict(type='RootMetric'))
    metric.process(None, list(samples))
    return metric.evaluate(len(samples))


def sample(pred, root=(0.5, -0.2, 4.), action='Walking 1'):
    return dict(pred_instances=dict(root=np.array([pred])), root=np.array(root), action=action)


def test_errors_by_hand():
    found = scores(sample((0.5, -0.2, 4.3)), sample((0.5, -0.6, 4.3)),
                   sample((0.6, -0.2, 4.), action='Eating'),
                   dict(pred_instances=dict(root=torch.ones(1, 3))))  # no label
    assert found['MRPE/Walking'] == pytest.approx((300 + 500) / 2)
    assert found['MRPE/Eating'] == pytest.approx(100)
    assert found['MRPE'] == pytest.approx(250) and found['MRPE/frame_mean'] == pytest.approx(300)
    assert found['MRPE_x/frame_mean'] == pytest.approx(100 / 3)
    assert found['MRPE_y/frame_mean'] == pytest.approx(400 / 3)
    assert found['MRPE_z/frame_mean'] == pytest.approx(200)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match='not finite'):
        scores(sample((0., np.nan, 1.)))
    with pytest.raises(ValueError, match='no sample has a root'):
        scores(dict(pred_instances=dict(root=np.zeros((1, 3)))))
