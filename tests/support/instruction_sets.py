"""`make test-isa`: the numeric tests with libraries held back to what older processors can do.

oneDNN, MKL, ATen, OpenBLAS, NumPy and OpenCV choose their kernels by the processor and by these
variables. ONNX Runtime's own kernels (MLAS) know no such variable: they are judged on the machines
that there are. A variable that a library does not know, or a machine's architecture, has no effect.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

SSE4 = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "ATEN_CPU_CAPABILITY": "default",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
    "OPENCV_CPU_DISABLE": "AVX,FP16,AVX2",
}
AVX2 = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4",
}
RUNS = {
    "SSE4, 1 thread": (SSE4, 1),
    "SSE4, 4 threads": (SSE4, 4),
    "AVX2, 2 threads": (AVX2, 2),
    "all there is, 1 thread": ({}, 1),
    "all there is, 4 threads": ({}, 4),
}
NUMERIC = (
    "tests/export/graphs",
    "tests/export/backbones/test_table.py",
    "tests/heads",
    "tests/calibration/test_quantisation.py",
    "tests/evaluation/parity",
    "tests/runtime/inference/test_onnxruntime.py",
    "tests/runtime/test_multi_source.py",
    "tests/runtime/test_preprocessing.py",
)


def main():
    """Runs them all and says which failed; ends with 1 if any did."""
    free = {k: v for k, v in os.environ.items() if k not in SSE4}
    failed = []
    with tempfile.TemporaryDirectory() as bundles:
        for name, (caps, threads) in RUNS.items():
            print(f"== {name}", flush=True)
            own = {"OMP_NUM_THREADS": str(threads), "UNITRACK_TEST_BUNDLES": bundles}
            command = [sys.executable, "-m", "pytest", "-m", "not slow and not alone", *NUMERIC]
            command += sys.argv[1:]
            if subprocess.run(command, check=False, env={**free, **caps, **own}).returncode:
                failed.append(name)
    print(f"failed with {'; '.join(failed)}" if failed else f"all {len(RUNS)} runs passed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
