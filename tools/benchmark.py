#!/usr/bin/env python
"""Speed and memory beside the alternatives, in one run: tools/benchmark.py SUBJECT [...]."""

import argparse

from benchmarks import ampose, data, drawing, hybrik, metrics, mixste, mpt, uplift_upsample, video

SUBJECTS = dict(data=data, metrics=metrics, mixste=mixste, uplift_upsample=uplift_upsample,
                ampose=ampose, hybrik=hybrik, mpt=mpt, drawing=drawing, video=video)


def main():
    parser = argparse.ArgumentParser(description='Speed and memory, as ratios measured in one run')
    subjects = parser.add_subparsers(dest='subject', required=True)
    for name, module in SUBJECTS.items():
        summary = module.__doc__.strip().splitlines()[0]
        sub = subjects.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    args = parser.parse_args()
    args.run(args)


if __name__ == '__main__':
    main()
