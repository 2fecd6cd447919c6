#!/usr/bin/env bash
# Builds `unipic` and the parity harness for an NVIDIA GPU, in target/cuda. No GPU is needed to build.
# The kernels take about ten minutes on two cores the first time. CUDA_COMPUTE_CAP picks the GPU: 90 (the default) is Hopper, 89 the RTX 4090.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v nvcc >/dev/null; then
  environment=$(deploy/gpu/cuda-env.sh target/cuda-toolkit)
  source /dev/stdin <<<"$environment"
fi
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/cuda}
cargo build --release --locked --features unipic/cuda,parity/cuda -p unipic -p parity
echo "built $CARGO_TARGET_DIR/release/unipic and $CARGO_TARGET_DIR/release/parity"
