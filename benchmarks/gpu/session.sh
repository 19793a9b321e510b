#!/bin/sh
# A GPU for a quarter of an hour: what is there, the host code on a real stream, parity, races, frames.
#
#   OUT=results PYTHON=python3 sh benchmarks/gpu/session.sh BUNDLE WEIGHTS.pth [cuda|cpu]
#
# From a checkout; what must be installed is in benchmarks/README.md ("On a GPU").
# Every step has a time limit (times SLOW) and writes into $OUT at once; one that fails stops no other.
# `cpu` tries the script itself where there is no GPU; the options of each step can be made smaller.
set -u
BUNDLE=$1 WEIGHTS=$2 DEVICE=${3:-cuda}
OUT=${OUT:-gpu-session} PYTHON=${PYTHON:-python3}
HERE=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$OUT"
failed=0

step() {  # NAME SECONDS ARGUMENTS…
    name=$1 limit=$2
    shift 2
    echo "== $name"
    timeout "$((limit * ${SLOW:-1}))" "$PYTHON" "$HERE/../run.py" "$@" > "$OUT/$name.txt" 2>&1
    status=$?
    tail -n 25 "$OUT/$name.txt"
    [ $status -eq 0 ] || { echo "== $name: exit status $status"; failed=1; }
}

[ "$DEVICE" = cpu ] || nvidia-smi > "$OUT/nvidia-smi.txt" 2>&1
step doctor 60 cli doctor "$BUNDLE"
[ "$DEVICE" = cpu ] || step device 60 gpu.device
step parity 240 cli parity "$BUNDLE" --weights "$WEIGHTS" --backend "$DEVICE" \
    ${PARITY_OPTIONS:---count 6} --json-file "$OUT/parity.json"
if [ "$DEVICE" = cpu ]; then arm=ort-cpu; else arm=ort-cuda; fi
# The races that count first; then the others, each in a process of its own.
step "race-$arm" 200 gpu --device "$DEVICE" --bundle "$BUNDLE" --weights "$WEIGHTS" \
    --arm "$arm" ${GPU_OPTIONS:---quick} --save "$OUT/$arm"
step race-half 100 gpu --device "$DEVICE" --bundle "$BUNDLE" --weights "$WEIGHTS" \
    --arm half ${HALF_OPTIONS:---task mot --task vos --quick} --save "$OUT/half"
for task in mot vos sot; do
    step "bench-$task" 45 cli bench "$BUNDLE" --task "$task" --backend "$DEVICE" \
        --against pytorch --weights "$WEIGHTS" --rounds 2 ${BENCH_OPTIONS:---frames 8} \
        --json-file "$OUT/bench-$task.json"
done
exit $failed
