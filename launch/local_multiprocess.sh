#!/usr/bin/env bash
# One run shared by several processes on this machine; a rehearsal for many machines.
#   launch/local_multiprocess.sh 2 --config=configs/digits.py --workdir=runs/two
# PYTHON and PORT can be set. On a machine with GPUs give each process its own by CUDA_VISIBLE_DEVICES in the loop.
set -euo pipefail
number=$1
shift
processes=()
trap 'kill "${processes[@]}" 2>/dev/null || true' EXIT
for ((i = 0; i < number; i++)); do
  "${PYTHON:-python}" -m drlhash_jax.main "$@" \
    --coordinator="127.0.0.1:${PORT:-12355}" --num_processes="$number" --process_id="$i" &
  processes+=($!)
done
# The first failure ends the others, which would wait for it.
for _ in "${processes[@]}"; do wait -n; done
