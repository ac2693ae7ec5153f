#!/usr/bin/env bash
# tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# Several nodes: NNODES, NODE_RANK, MASTER_ADDR, PORT.
set -euo pipefail
if [[ $# -lt 3 || $1 == -h || $1 == --help ]]; then
    sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}" >&2
    [[ ${1:-} == -h || ${1:-} == --help ]] && exit 0
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
[[ $GPUS =~ ^[1-9][0-9]*$ ]] || { echo "dist_test.sh: error: GPUS is a number above 0, not '$GPUS'" >&2; exit 2; }

exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$GPUS" \
    "$(dirname "${BASH_SOURCE[0]}")/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
