"""Distributed training on CPUs.

Upstream: MMEngine 0.10.7 selects a CUDA device for every process that torchrun starts, also on a
machine that has none, and fails there before gloo can be used.
"""

import functools
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import utils

_original = utils._init_dist_pytorch


@functools.wraps(_original)
def _init_dist_pytorch(backend: str, init_backend: str = 'torch', **kwargs: Any) -> None:
    if get_device() != 'cpu' or init_backend != 'torch':
        _original(backend, init_backend=init_backend, **kwargs)
    else:
        torch.distributed.init_process_group(backend=backend, **kwargs)


def install() -> None:
    """Let torchrun's processes start without a GPU; a second call changes nothing."""
    utils._init_dist_pytorch = _init_dist_pytorch
