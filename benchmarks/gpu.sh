#!/usr/bin/env bash
# Cost of distillation on a GPU: distil.py at three precisions and two batch sizes, and writing the caches.
#
#     bash benchmarks/gpu.sh [FILE]        writes Markdown to FILE (default: results/gpu_benchmark.md), and prints it
#
# PYTHON is the interpreter of the environment (default: .venv/bin/python if it exists, else python3). Needs a GPU, no
# network, and under nine minutes: no measurement starts after BUDGET seconds (default: 410), and each is stopped LIMIT
# seconds (default: 115) after its start. After a failed measurement the script continues. Exit status: 0 if all were
# measured or skipped for lack of time, 1 if a measurement failed, 2 if there is no GPU or no environment.
set -u -o pipefail

report=${1:-}
if [ -n "$report" ] && [ "${report#/}" = "$report" ]; then report=$PWD/$report; fi
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
report=${report:-results/gpu_benchmark.md}
SECONDS=0
budget=${BUDGET:-410}
limit=${LIMIT:-115}
python=${PYTHON:-}
if [ -z "$python" ]; then
    python=python3
    [ -x .venv/bin/python ] && python=.venv/bin/python
fi
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES-0}" OMP_NUM_THREADS=1

refuse() {
    echo "error: $1" >&2
    exit 2
}

# shellcheck disable=SC2016  # the program is Python's
found=$("$python" -c '
import importlib.util, sys
missing = [name for name in ("torch", "fairseq", "pydantic") if importlib.util.find_spec(name) is None]
if missing:
    print("missing", " ".join(missing))
    sys.exit()
import torch
print("gpu" if torch.cuda.is_available() else "none", torch.__version__)
') || refuse "$python cannot be run; name the interpreter of the environment in PYTHON"
case $found in
    missing*) refuse "$python lacks ${found#missing }; build the environment (make env), or name its interpreter in PYTHON" ;;
    none*) refuse "no GPU: torch ${found#none } finds none; nothing was measured" ;;
esac

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
mkdir -p "$(dirname "$report")" || exit 2
: >"$report" || exit 2

say() {
    printf '%s\n' "$*" | tee -a "$report"
}

failed=0
first=1 # first line to copy: the first table comes with the lines about machine and sizes
# measure TITLE FLAG...: run distil.py and append its tables to the report
measure() {
    local title=$1 status
    shift
    say "" "## $title" ""
    if [ "$SECONDS" -ge "$budget" ]; then
        say "Skipped: $SECONDS of $budget seconds were over."
        return
    fi
    echo "$SECONDS s: $title" >&2
    rm -f "$work/table.md"
    timeout --kill-after=10 "$limit" "$python" benchmarks/distil.py --device cuda --folder "$work/material" \
        --sentences 10000 "$@" --markdown "$work/table.md" >/dev/null 2>"$work/errors"
    status=$?
    if [ "$status" -eq 0 ]; then
        say "$(tail -n "+$first" "$work/table.md")"
        first=5
        return
    fi
    failed=$((failed + 1))
    cat "$work/errors" >&2
    case $status in
        124 | 137) say "Failed: stopped after $limit seconds." ;;
        *) say "Failed with status $status: $(tail -n 1 "$work/errors")" ;;
    esac
}

say "# GPU benchmark" ""
say "$(nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader -i 0 2>/dev/null || echo "no nvidia-smi")"
say "torch ${found#gpu }, commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"

measure "Caching" --parts caching
measure "Start-up" --parts start-up
# the most informative first: a slow machine skips the last
for setting in fp32:4096 fp32:16384 bf16:16384 fp16:16384 bf16:4096 fp16:4096; do
    precision=${setting%:*} max_tokens=${setting#*:}
    measure "$precision, max-tokens $max_tokens" --parts steps --rounds 5 --batches 4 \
        --precision "$precision" --max-tokens "$max_tokens"
done

say "" "Took $SECONDS seconds; $failed measurements failed."
[ "$failed" -eq 0 ]
