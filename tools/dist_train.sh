#!/usr/bin/env bash
# Train on several processes of this machine (or of NNODES machines): NCCL on GPUs, gloo on CPUs.
# usage: tools/dist_train.sh CONFIG NUM_PROCESSES [options of tools/train.py]
set -euo pipefail
CONFIG=$1
PROCESSES=$2
exec torchrun \
    --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$PROCESSES" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"
