#!/usr/bin/env bash
# One run on all hosts of a TPU slice; the hosts find each other.
#   TPU=my-slice ZONE=us-central2-b launch/tpu_vm.sh --config=configs/cifar10_features.py --workdir=runs/c10
# Copies the files of this checkout that git tracks, as they are now, to every host; installs and runs them there; brings
# --workdir back from the host that writes it, also when the run fails or is stopped. Run the same command again to
# resume, as long as the hosts keep their disks. DRLHASH_DATA must name a folder that exists on every host, and PYTHON
# (python3) Python 3.11 or newer. Tested with a stand-in of gcloud; not run on a TPU yet.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${TPU:?name of the TPU}" "${ZONE:?its zone}"
tpu_vm() { gcloud compute tpus tpu-vm "$@" --zone="$ZONE"; }

workdir=runs previous=
for argument in "$@"; do
  case "$argument" in
    --workdir=*) workdir=${argument#--workdir=} ;;
    *) [ "$previous" != --workdir ] || workdir=$argument ;;
  esac
  previous=$argument
done
case "$workdir" in
  /*) remote=$workdir target=runs ;;
  *) remote=drlhash_jax/$workdir target=$(dirname "$workdir") ;;
esac

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
archive=$folder/drlhash_jax.tar.gz
# A commit of what is changed but not committed, which no branch gets; empty if there is none.
changed=$(git -c user.name=launch -c user.email=launch@localhost stash create)
git archive --format=tar.gz --output="$archive" "${changed:-HEAD}"

tpu_vm scp "$archive" "$TPU:drlhash_jax.tar.gz" --worker=all
code=0
tpu_vm ssh "$TPU" --worker=all --command="
  set -e
  mkdir -p drlhash_jax
  tar -xzf drlhash_jax.tar.gz -C drlhash_jax
  cd drlhash_jax
  ${PYTHON:-python3} -m venv .venv
  .venv/bin/pip install -q -e '.[tpu]'
  DRLHASH_DATA=$(printf '%q' "${DRLHASH_DATA:-}") .venv/bin/python -m drlhash_jax.main --distributed=on $(printf '%q ' "$@")" ||
  code=$?
mkdir -p "$target"
# Process 0, which writes, runs on the first host.
tpu_vm scp --recurse "$TPU:$remote" "$target" --worker=0 || echo "$remote could not be brought back from $TPU" >&2
exit "$code"
