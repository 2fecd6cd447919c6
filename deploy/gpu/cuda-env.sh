#!/usr/bin/env bash
# Sets up nvcc from Python wheels in DIR and prints the environment that builds the `cuda` feature.
# Works on a machine with neither a GPU nor CUDA; a GPU machine then needs driver 580 or newer and the CUDA 13 libraries
# cublas, curand, cudart and nvrtc (a CUDA 13 install, or the wheels' lib folder on LD_LIBRARY_PATH).
#
#   source <(deploy/gpu/cuda-env.sh target/cuda-toolkit)
set -euo pipefail
dir=${1:?usage: cuda-env.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
site() { echo "$dir"/venv/lib/python3*/site-packages/nvidia/cu13; }

if [[ ! -x $(site)/bin/nvcc ]]; then
  python3 -m venv "$dir/venv" >&2
  "$dir/venv/bin/pip" install --quiet \
    'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cccl==13.0.*' 'nvidia-cuda-nvrtc==13.0.*' \
    'nvidia-nvvm==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-cublas==13.0.*' 'nvidia-curand==10.4.*' >&2
fi
root=$(site)

# Wheels ship only versioned libraries; linkers look for the plain names.
mkdir -p "$root/lib64/stubs"
for pair in cublas:13 cublasLt:13 curand:10 nvrtc:13 cudart:13; do
  name=${pair%%:*} version=${pair##*:}
  ln -sf "lib$name.so.$version" "$root/lib/lib$name.so"
  ln -sf "../lib/lib$name.so.$version" "$root/lib64/lib$name.so"
done
# The driver's library comes with the driver. A stand-in of the same name satisfies the linker; the real one is loaded.
echo 'void unipic_cuda_stand_in(void) {}' | gcc -x c -shared -Wl,-soname,libcuda.so.1 -o "$root/lib64/stubs/libcuda.so" -

cat <<ENV
export CUDA_HOME=$root CUDA_PATH=$root CUDA_ROOT=$root CUDA_TOOLKIT_ROOT_DIR=$root NVCC=$root/bin/nvcc
export PATH=$root/bin:\$PATH CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90}
export LIBRARY_PATH=$root/lib:$root/lib64/stubs LD_LIBRARY_PATH=$root/lib
export RUSTFLAGS="-L $root/lib -L $root/lib64/stubs -C link-arg=-Wl,--unresolved-symbols=ignore-all"
ENV
