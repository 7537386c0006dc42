#!/usr/bin/env python
"""Train a model: tools/train.py CONFIG [--resume] [--amp] [--auto-scale-lr] [...]."""

from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

import mmpose_lift  # noqa: F401  (registers the components, also for MMPose's own configs)
from mmpose_lift.apis.command_line import (
    check_training,
    latest_checkpoint,
    leave_distributed,
    load_weights,
    one_line_errors,
    prepare_config,
    runner_arguments,
)


def main():
    parser = runner_arguments('Train a model')
    parser.add_argument('--resume', nargs='?', const='auto', metavar='CHECKPOINT',
                        help='go on from this checkpoint, or from the last one in the work folder')
    parser.add_argument('--amp', action='store_true', help='automatic mixed precision')
    parser.add_argument('--no-validate', action='store_true', help='no validation in between')
    parser.add_argument('--auto-scale-lr', action='store_true',
                        help='scale the learning rate with the global batch size')
    args = parser.parse_args()
    with one_line_errors():
        config = prepare_config(args)
        check_training(config)
        if args.no_validate:
            config.val_cfg = config.val_dataloader = config.val_evaluator = None
        if args.amp:
            if 'strategy' in config:
                raise ValueError(f'--amp: the strategy of {args.config} brings its own mixed '
                                 'precision; use --cfg-options strategy.autocast=bfloat16')
            if any(hook.type == 'BFloat16Hook' for hook in config.get('custom_hooks', [])):
                raise ValueError(f'--amp: {args.config} trains in mixed precision already, by its '
                                 'BFloat16Hook; leave --amp out, or take the hook out of '
                                 'custom_hooks')
            if get_device() == 'cpu':
                raise ValueError('--amp: MMEngine trains in mixed precision on accelerators only, '
                                 'and this machine shows none; leave it out')
            config.optim_wrapper.type = 'AmpOptimWrapper'
            config.optim_wrapper.setdefault('loss_scale', 'dynamic')
        if args.auto_scale_lr:
            if 'auto_scale_lr' not in config:
                raise ValueError(f'--auto-scale-lr: {args.config} has no auto_scale_lr with the '
                                 'base_batch_size its learning rate was chosen for')
            config.auto_scale_lr.enable = True
        if args.resume is not None:
            config.resume = True
            config.load_from = (latest_checkpoint(config.work_dir) if args.resume == 'auto' else
                                args.resume)
        # runner_type: MMEngine's flexible runner, whose strategy resumes by itself
        runner = RUNNERS.build(config) if 'runner_type' in config else Runner.from_cfg(config)
        if args.resume is not None and isinstance(runner, Runner):
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            state = load_weights(model, config.load_from)
            if 'optimizer' not in state or 'meta' not in state:
                raise ValueError(f'--resume: {config.load_from} has weights but no state of a '
                                 'training; to start from its weights, use --cfg-options '
                                 f'load_from={config.load_from}')
        # MMEngine opens the data only in train(): now, so that what is wrong is said in one line
        for loop in ('train_loop', 'val_loop'):
            getattr(runner, loop)
    with one_line_errors((ValueError, )):  # data and model that do not fit each other
        runner.train()
    leave_distributed()


if __name__ == '__main__':
    main()
