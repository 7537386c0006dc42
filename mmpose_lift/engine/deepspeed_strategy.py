"""Training with DeepSpeed, which MPT used (Lin et al., WACV 2024, supplement): an option.

DeepSpeed is no dependency. Only MMEngine's flexible runner knows strategies:
``runner_type='FlexibleRunner'`` in the config.
"""

import importlib.util
import os
import os.path as osp
from importlib.metadata import version
from typing import Any

import torch
from mmengine._strategy import DeepSpeedStrategy
from mmengine.device import get_device
from mmengine.registry import STRATEGIES
from mmengine.utils import digit_version
from torch import nn

FROM, BELOW = '0.18', '0.19'  # 0.16 has no `torch_autocast`, 0.19 lacks modules MMEngine imports
INSTALL = f'pip install "deepspeed>={FROM},<{BELOW}"'
_AUTOCAST_DTYPES = ('bfloat16', 'float16')


@STRATEGIES.register_module()
class OptionalDeepSpeed(DeepSpeedStrategy):
    """MMEngine's strategy, also on CPUs and for one process without launcher, with clear errors.

    Weights stay float32, as in plain mixed precision. DeepSpeed's ``fp16`` and ``bf16`` are not
    offered: they keep all weights in half precision, and the mesh head computes its up-sampling and
    camera in float32.

    Checkpoints are folders that ``--resume`` goes on from; ``CheckpointHook(save_optimizer=False)``
    writes plain weights for evaluation instead.

    Args:
        autocast: 'bfloat16' or 'float16': mixed precision by DeepSpeed's ``torch_autocast``. None:
            float32.
        stage: ZeRO stage 0 (plain data parallelism), 1 (the optimiser's state is shared out among
            the processes) or 2 (the gradients too).
        gradient_accumulation_steps: Batches per update.
        gradient_clipping: Largest norm of the gradients, None leaves them.
        **kwargs: Set by the runner: work folder, environment, logs.

    Raises:
        ImportError: DeepSpeed is not installed, or a version that MMEngine cannot use.
        ValueError: An unknown precision or stage, or one above 0 for several processes on CPUs.
    """

    def __init__(self, autocast: str = None, stage: int = 1, gradient_accumulation_steps: int = 1,
                 gradient_clipping: float = None, **kwargs: Any) -> None:
        check_deepspeed()
        if autocast is not None and autocast not in _AUTOCAST_DTYPES:
            raise ValueError(f'strategy.autocast: expected None or one of '
                             f'{_AUTOCAST_DTYPES}, found {autocast!r}')
        if stage not in (0, 1, 2):
            raise ValueError('strategy.stage: expected 0, 1 or 2 (stage 3 shares out the weights, '
                             f'which networks of this size do not need), found {stage!r}')
        self._stage = stage
        config = {}
        if autocast is not None:
            config['torch_autocast'] = dict(enabled=True, dtype=autocast)
        super().__init__(config=config, zero_optimization=dict(stage=stage),
                         gradient_accumulation_steps=gradient_accumulation_steps,
                         gradient_clipping=gradient_clipping, **kwargs)

    def _setup_distributed(self, launcher: str = None, backend: str = 'nccl',
                           **kwargs: Any) -> None:
        if get_device() == 'cpu' and launcher == 'pytorch':  # MMEngine would select a GPU
            if self._stage and int(os.environ['WORLD_SIZE']) > 1:
                raise ValueError(f'strategy.stage: expected 0 for several processes on CPUs, found '
                                 f'{self._stage}: DeepSpeed 0.18 cannot gather what ZeRO shares '
                                 'out by gloo')
            torch.distributed.init_process_group('gloo')
        else:
            super()._setup_distributed(launcher, backend, **kwargs)

    def prepare(self, model, *, dispatch_kwargs: dict = None, **kwargs: Any):
        """As MMEngine's; the batch size, which it only tells its own class, is taken from here."""
        size = (dispatch_kwargs or {}).get('train_micro_batch_size_per_gpu', 1)  # 1 in a test
        self.config['train_micro_batch_size_per_gpu'] = size
        return super().prepare(model, dispatch_kwargs=dispatch_kwargs, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if not torch.distributed.is_initialized():  # else DeepSpeed asks for MPI
            torch.distributed.init_process_group(
                'gloo' if get_device() == 'cpu' else 'nccl', world_size=1, rank=0,
                store=torch.distributed.HashStore())
        return super()._wrap_model(model)

    def load_checkpoint(self, filename: str, **kwargs: Any) -> dict:
        """Take the weights of a DeepSpeed checkpoint.

        Raises:
            ValueError: It is a plain file of weights.
        """
        if not osp.isdir(filename):
            raise ValueError(
                f'load_from={filename}: with DeepSpeed this is the folder of a DeepSpeed '
                'checkpoint; to start from a plain file of weights, set '
                f"model.init_cfg=dict(type='Pretrained', checkpoint={str(filename)!r}) instead")
        return super().load_checkpoint(filename, **kwargs)


def check_deepspeed() -> None:
    """ImportError unless a DeepSpeed that MMEngine 0.10 works with is installed."""
    if importlib.util.find_spec('deepspeed') is None:
        raise ImportError(
            "strategy: this config trains with DeepSpeed, which is not installed; install it with "
            f"'{INSTALL}' (on Linux, after PyTorch), or train with the config that this one is "
            'based on: plain data parallelism and mixed precision')
    found = version('deepspeed')
    if not digit_version(FROM) <= digit_version(found) < digit_version(BELOW):
        raise ImportError(f'strategy: DeepSpeed {found} is installed, and MMEngine 0.10 works with '
                          f"versions from {FROM} below {BELOW}; install one with '{INSTALL}'")
