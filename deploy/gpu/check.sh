#!/usr/bin/env bash
# Checks a GPU build on a machine with a GPU: parity on the device, then memory and speed at the real size with random weights.
#
#   deploy/gpu/check.sh BIN_DIR [WORK_DIR]
#
# BIN_DIR holds `unipic` and `parity` (deploy/gpu/build.sh); WORK_DIR gets a 6 GB random checkpoint and the images.
# Everything it prints is the run's record: redirect it into tests/benches/runs/.
set -euo pipefail
bin=$(cd "${1:?usage: check.sh BIN_DIR [WORK_DIR]}" && pwd)
work=${2:-$(mktemp -d)}
root=$(cd "$(dirname "$0")/../.." && pwd)
say() { printf '\n## %s\n' "$1"; }

say "machine"
date --utc
nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader
uname -srm

say "parity in f32 on the device"
"$bin/parity" "$root/tests/parity/fixtures/tiny-a" --device cuda

say "a full-size random checkpoint"
[[ -f $work/checkpoint/config.json ]] || "$bin/unipic" model random --preset unipic-1.5b "$work/checkpoint"

peak() { # samples the device's used memory while a command runs, and prints time and peak
  local start peak=0 used
  start=$(date +%s.%N)
  "$@" & local pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    used=$(nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits | head -n 1)
    ((used > peak)) && peak=$used
    sleep 0.2
  done
  wait "$pid"
  printf 'wall %.1f s, peak device memory %s MiB\n' "$(echo "$(date +%s.%N) - $start" | bc)" "$peak"
}

for size in 256x256 512x512 1024x1024; do
  say "generate $size, 32 iterations, 100 head steps, guidance 3, bf16"
  peak "$bin/unipic" generate 'a red circle' -o "$work/$size.png" --model "$work/checkpoint" --device cuda --dtype bf16 \
    --size "$size" --iterations 32 --head-steps 100 --guidance 3 --seed 1 --json
done
say "describe, bf16"
peak "$bin/unipic" describe "$work/512x512.png" 'What is this?' --model "$work/checkpoint" --device cuda --dtype bf16 --json
