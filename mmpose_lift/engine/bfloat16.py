"""Training in bfloat16 on any device; MMEngine's mixed precision does not run on CPUs."""

import functools

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor, nn


@HOOKS.register_module()
class BFloat16Hook(Hook):
    """Train backbone, neck and head under autocast to bfloat16, with channels last in memory.

    Weights, gradients, losses and updates stay float32, and evaluation is not changed. bfloat16 has
    the range of float32, so losses need no scaling. On a CPU with bfloat16 instructions a small
    ResNet trains in about half the time. Devices without them take longer (CPUs) or are refused by
    PyTorch (old GPUs): leave the hook out there, ``--cfg-options custom_hooks=[]`` for example.
    """

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.to(memory_format=torch.channels_last)
        device = next(model.parameters()).device.type
        parts = (getattr(model, name, None) for name in ('backbone', 'neck', 'head'))
        for module in filter(None, parts):
            module.forward = _in_bfloat16(module, device)


def _in_bfloat16(module: nn.Module, device: str):
    """The forward of a module, under autocast in training; its outputs are float32."""
    forward = module.forward

    @functools.wraps(forward)
    def wrapped(*args, **kwargs):
        with torch.autocast(device, torch.bfloat16, enabled=module.training):
            outputs = forward(*args, **kwargs)
        return _to_float32(outputs)

    return wrapped


def _to_float32(outputs):
    """Tensors, also inside tuples, lists and dicts, as float32."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: _to_float32(output) for name, output in outputs.items()}
    return type(outputs)(_to_float32(output) for output in outputs)
