#!/usr/bin/env bash
# One run on all hosts of a TPU slice; the hosts find each other.
#   TPU=my-slice ZONE=us-central2-b launch/tpu_vm.sh --config=configs/cifar10_features.py --workdir=runs/c10
# Copies this checkout to every host, installs it there, and runs it. Process 0 writes --workdir on its host; run the same
# command again after a preemption to resume. DRLHASH_DATA must name a folder that exists on every host.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${TPU:?name of the TPU}" "${ZONE:?its zone}"
all_hosts=(--zone="$ZONE" --worker=all)

gcloud compute tpus tpu-vm scp --recurse . "$TPU:drlhash_jax" "${all_hosts[@]}"
gcloud compute tpus tpu-vm ssh "$TPU" "${all_hosts[@]}" --command="
  set -e
  cd drlhash_jax
  python3 -m venv .venv
  .venv/bin/pip install -q 'jax[tpu]' -e .
  DRLHASH_DATA='${DRLHASH_DATA:-}' .venv/bin/python -m drlhash_jax.main --distributed=on $(printf '%q ' "$@")"
