"""Learning rate that warms up linearly and then falls with the inverse square root of the step."""

import math

from mmengine.optim import _ParamScheduler
from mmpose.registry import PARAM_SCHEDULERS

INF = int(1e9)  # as in MMEngine


@PARAM_SCHEDULERS.register_module()
class InverseSqrtLR(_ParamScheduler):
    """``lr * min(t / warmup, sqrt(warmup / t))`` (Vaswani et al., 2017; HybrIK-Transformer).

    t counts the iterations since ``begin`` from 0, so the first update has learning rate 0 and that
    after ``warmup`` iterations the whole one, the ``lr`` of the optimizer. The value depends on t
    only: a resumed run goes on exactly, and it cannot be combined with another schedule of the
    learning rate over the same iterations.

    Args:
        optimizer: Optimizer or wrapper.
        warmup: Iterations of the linear part; 4000 in the published configuration.
        begin: First iteration.
        end: Iteration at which the learning rate stays what it is.
        last_step: As in MMEngine.
        by_epoch: Must be False; asked for because MMEngine takes True for granted where it is not
            in the config, and would then count ``end`` in epochs.
        verbose: Print every value.

    Raises:
        ValueError: ``by_epoch`` is not False, or ``warmup`` below 1.
    """

    def __init__(self, optimizer, warmup: int = 4000, begin: int = 0, end: int = INF,
                 last_step: int = -1, by_epoch: bool = True, verbose: bool = False):
        if by_epoch:
            raise ValueError('InverseSqrtLR changes the learning rate in every iteration: add '
                             'by_epoch=False to its config (begin and end are iterations too)')
        if warmup < 1:
            raise ValueError(f'InverseSqrtLR: warmup must be at least 1 iteration, found {warmup}')
        self.warmup = warmup
        super().__init__(optimizer, 'lr', begin, end, last_step, by_epoch, verbose)

    def factor(self, step: int) -> float:
        """Share of the whole learning rate in iteration ``step`` (from 0)."""
        if step <= self.warmup:
            return step / self.warmup
        return math.sqrt(self.warmup / step)

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a saved state, with the range of iterations that this schedule has now.

        MMEngine's schedules take the range from the checkpoint: a run that was to end there and is
        made longer would keep its last learning rate.
        """
        begin, end, warmup = self.begin, self.end, self.warmup
        super().load_state_dict(state_dict)
        self.begin, self.end, self.warmup = begin, end, warmup
        if self._global_step >= begin:
            self.last_step = min(self._global_step, end - 1) - begin
            for group, value in zip(self.optimizer.param_groups, self._get_value()):
                group['lr'] = value

    def _get_value(self) -> list:
        return [value * self.factor(self.last_step) for value in self.base_values]
