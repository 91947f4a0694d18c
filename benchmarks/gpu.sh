#!/usr/bin/env bash
# `make gpu`: everything that needs a GPU, in one go, on a machine without network.
#   PYTHON   an interpreter that has torch with CUDA, scikit-build-core, pybind11, ninja and pytest
#   WHEELS   a folder with wheels of the packages it lacks (optional)
#   REPORT   the folder for the report and the benchmarks' tables
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3} WHEELS=${WHEELS:-} REPORT=${REPORT:-build/gpu-report}
SITE=$PWD/build/gpu-site CPP=build/gpu-cpp
mkdir -p "$REPORT" "$SITE"
REPORT=$(cd "$REPORT" && pwd)
export PYTHONPATH=$SITE PATH=$SITE/bin:$PATH
failed=0

# Runs a step, keeps its output, and notes in the report whether it passed.
step() {
    local name=$1 log
    shift
    log="$REPORT/$(tr -c 'a-z0-9\n' '-' <<<"$name").log"
    if "$@" >"$log" 2>&1; then
        echo "| $name | passed |" | tee -a "$REPORT/report.md"
    else
        failed=1
        echo "| $name | FAILED, see $(basename "$log") |" | tee -a "$REPORT/report.md"
        tail -n 40 "$log"
    fi
}

gpus() { nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null; }
install_wheels() { "$PYTHON" -m pip install -q --no-index --no-deps --upgrade --target "$SITE" "$WHEELS"/*.whl; }
install_xaipipe() {
    "$PYTHON" -m pip install --no-index --no-deps --no-build-isolation --upgrade --target "$SITE" . \
        -C cmake.define.XAIPIPE_CUDA=ON -C build-dir=build/gpu-wheel
}
build_cpp_tests() {
    cmake -S . -B "$CPP" -G Ninja -DXAIPIPE_PYTHON=OFF -DXAIPIPE_CUDA=ON -DXAIPIPE_TESTS=ON && cmake --build "$CPP"
}
run_cpp_tests() { ctest --test-dir "$CPP" --output-on-failure; }
sanitize() {
    local tests test
    tests=$(find "$CPP" -type f -executable -name "*_test")
    [ -n "$tests" ] || { echo "no C++ test programs under $CPP"; return 1; }
    for test in $tests; do
        compute-sanitizer --tool "$1" --error-exitcode 1 "$test" || return 1
    done
}
run_gpu_tests() { "$PYTHON" -m pytest -m gpu -W default; }
run_benchmark() { "$PYTHON" "$1" --device cuda --out "$REPORT/$(basename "$1" .py)-cuda.md"; }

{
    echo "# GPU report, $(date -u +%Y-%m-%d)"
    echo
    gpus || echo "No GPU: the CUDA sources are compiled, and nothing is run."
    "$PYTHON" -c 'import sys, torch; print("Python", sys.version.split()[0], "torch", torch.__version__)'
    echo
    echo "| step | result |"
    echo "|---|---|"
} | tee "$REPORT/report.md"

[ -z "$WHEELS" ] || step "wheels" install_wheels
step "CUDA build" install_xaipipe
step "C++ tests built" build_cpp_tests
gpus >/dev/null || exit 1  # tests that skip for lack of a GPU must not read as passed
step "C++ tests, CPU against CUDA" run_cpp_tests
step "compute-sanitizer memcheck" sanitize memcheck
step "compute-sanitizer racecheck" sanitize racecheck
step "Python tests marked gpu" run_gpu_tests
for benchmark in $(grep -l -e --device benchmarks/[a-z]*.py); do  # the others have nothing to do with a GPU
    step "benchmark $(basename "$benchmark" .py)" run_benchmark "$benchmark"
done
exit $failed
