"""Refuse weights that do not fit the model, where MMEngine would load what fits and go on."""

from typing import Sequence

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor

from ..io.checkpoint_checks import check_shapes


@HOOKS.register_module()
class CheckedLoadHook(Hook):
    """Compare every checkpoint with the model before it is loaded.

    MMEngine loads ``load_from`` with ``strict=False``: parameters of other names or shapes are left
    as they are, with a line in the log. For fine-tuning that is a training from scratch of some
    part that nobody asked for.

    Args:
        advice: What to do where the checkpoint does not fit; the end of the message.
        new: Beginnings of names that a checkpoint need not have, parts that start anew.
        left: Beginnings of names that the model need not have, parts that are left behind.
    """

    priority = 'VERY_LOW'  # after hooks that change the checkpoint, as the average of weights does

    def __init__(self, advice: str = '', new: Sequence[str] = (), left: Sequence[str] = ()):
        self.advice = advice
        self.new, self.left = tuple(new), tuple(left)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes.

        Raises:
            ValueError: parameters are missing, unexpected or of another shape (named).
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        expected = {k: tuple(v.shape) for k, v in model.state_dict().items()
                    if not k.startswith('data_preprocessor.')}
        state = checkpoint.get('state_dict', checkpoint)
        found = {str(k).removeprefix('module.'): v for k, v in state.items()
                 if isinstance(v, Tensor) and not k.startswith('data_preprocessor.')}
        if self.new:
            expected = {k: shape for k, shape in expected.items()
                        if k in found or not k.startswith(self.new)}
        if self.left:
            found = {k: v for k, v in found.items() if k in expected or not k.startswith(self.left)}
        where = str(getattr(runner, '_load_from', None) or 'the checkpoint')
        try:
            check_shapes(expected, found, type(model).__name__, where)
        except ValueError as error:
            raise ValueError(f'{error} {self.advice}'.rstrip()) from None
