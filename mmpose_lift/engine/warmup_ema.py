"""Average of the weights that follows quickly at first (as the public code of Uplift and Upsample).
"""

from typing import Any, Optional

import torch
from mmengine.model import BaseAveragedModel
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class WarmupEMA(BaseAveragedModel):
    """Exponential moving average with decay ``min(1 - momentum, (1 + t) / (10 + t))``.

    t counts the training steps from 0, so the decay grows from 0.1 to its final value. Used by
    MMEngine's hook: ``custom_hooks=[dict(type='EMAHook', ema_type='WarmupEMA', momentum=0.001)]``.

    MMEngine's averages copy the model in step 0. Here step 0 follows the formula as well:
    ``0.1 * (weights before the step) + 0.9 * (weights after it)``. MMEngine's hook builds the
    average before the model's ``init_weights`` is called; the weights before the first step are
    therefore taken when the model first runs in training mode.

    Args:
        model: The model to be averaged.
        momentum: 1 - the final decay, in (0, 1). 0.001 in the published configuration.
        interval: Steps between two updates; t still counts every step.
        device: Where the average is kept. Defaults to the model's device.
        update_buffers: Average buffers of floating-point type too (all weights, as in the public
            code) and copy the others. False copies all buffers.

    Raises:
        ValueError: a momentum outside (0, 1), or an interval below 1.
    """

    def __init__(self, model: nn.Module, momentum: float = 0.001, interval: int = 1,
                 device: Optional[torch.device] = None, update_buffers: bool = True) -> None:
        if not 0 < momentum < 1:
            raise ValueError('WarmupEMA: momentum is 1 - the final decay and lies between 0 and 1, '
                             f'found {momentum!r}')
        if interval < 1:
            raise ValueError(f'WarmupEMA: interval must be at least 1 step, found {interval!r}')
        super().__init__(model, interval, device, update_buffers)
        self.momentum = momentum
        self._start = model.register_forward_pre_hook(self._take_start)

    def decay(self, step: int) -> float:
        """Share of the old average that step ``step`` (from 0) keeps."""
        return min(1 - self.momentum, (1 + step) / (10 + step))

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """``averaged = decay * averaged + (1 - decay) * source``, in place."""
        averaged_param.lerp_(source_param, 1 - self.decay(int(steps)))

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the weights of ``model`` after one more training step into the average."""
        self._start.remove()
        step = int(self.steps)
        if step % self.interval == 0:
            for average, source in zip(self.module.parameters(), model.parameters()):
                self.avg_func(average, source.to(average.device), step)
        for average, source in zip(self.module.buffers(), model.buffers()):
            if not (self.update_buffers and average.is_floating_point()):
                average.copy_(source)
            elif step % self.interval == 0:
                self.avg_func(average, source.to(average.device), step)
        self.steps += 1

    @torch.no_grad()
    def _take_start(self, model: nn.Module, inputs: Any) -> None:
        """Copy the weights before the first step (in training, not resumed)."""
        if not model.training or self.steps > 0:
            return
        for copy, source in ((self.module.parameters(), model.parameters()),
                             (self.module.buffers(), model.buffers())):
            for average, value in zip(copy, source):
                average.copy_(value)
