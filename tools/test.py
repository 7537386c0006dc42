#!/usr/bin/env python
"""Evaluate a checkpoint: tools/test.py CONFIG CHECKPOINT [--out METRICS.json] [...]."""

import os.path as osp

import mmengine
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

import mmpose_lift  # noqa: F401  (registers the components, also for MMPose's own configs)
from mmpose_lift.apis.command_line import (
    leave_distributed,
    load_weights,
    one_line_errors,
    prepare_config,
    runner_arguments,
)
from mmpose_lift.io.atomic import atomic_write


def main():
    parser = runner_arguments('Evaluate a checkpoint')
    parser.add_argument('checkpoint', help='checkpoint file or address')
    parser.add_argument('--out', metavar='FILE', help='write the metrics to this .json file')
    parser.add_argument('--dump', metavar='FILE', help='write all predictions to this .pkl file')
    args = parser.parse_args()
    with one_line_errors():
        config = prepare_config(args)
        if '://' not in args.checkpoint and not osp.isfile(args.checkpoint):
            raise FileNotFoundError(f'checkpoint {args.checkpoint!r}: no such file')
        config.load_from = args.checkpoint
        if args.dump is not None:
            evaluators = config.test_evaluator
            config.test_evaluator = [
                *(evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]),
                dict(type='DumpResults', out_file_path=args.dump)
            ]
        runner = Runner.from_cfg(config)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        load_weights(model, args.checkpoint)
        runner.test_loop  # noqa: B018  (opens the data: what is wrong is said in one line)
    with one_line_errors((ValueError, )):  # data and model that do not fit each other
        metrics = runner.test()
    if args.out is not None and is_main_process():
        with atomic_write(args.out) as path:
            mmengine.dump(metrics, str(path))
    leave_distributed()


if __name__ == '__main__':
    main()
