#!/usr/bin/env bash
# On a machine with GPUs, which may be offline: the benchmark, then the shipped GSM8K scripts on its model.
#   bash scripts/bench_gpu.sh [OUT]                                        all GPUs, Qwen2.5-1.5B's shape
#   DEVICE=cpu GEOMETRY=small bash scripts/bench_gpu.sh [OUT]              the rehearsal without a GPU
# Needs the environment that `bash scripts/setup.sh` makes. Goes on where it was stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-outputs/bench_gpu}")
device=${DEVICE:-gpu}
geometry=${GEOMETRY:-qwen2.5-1.5b}
longest=${LONGEST:-$([ "$geometry" = small ] && echo 128 || echo 1024)}
gpus=${GPUS:-$([ "$device" = cpu ] && echo 1 || nvidia-smi --list-gpus | wc -l)}
where=("device=$device" "trainer.n_gpus_per_node=$gpus")
mkdir -p "$out"

scripts/python.sh -m cppo_verl.bench.core | tee "$out/core.txt"
scripts/python.sh -m cppo_verl.bench.driver | tee "$out/driver.txt"
# shellcheck disable=SC2086 # several words each
scripts/python.sh -m cppo_verl bench --geometry "$geometry" --out "$out/bench" ${BENCH:-} "${where[@]}" |
    tee "$out/bench.txt"

inputs="$out/bench/inputs"
for method in grpo cppo; do
    # Random weights earn nothing: this shows that the scripts run, and what they log. The rewards are the recipe's.
    bash "recipe/cppo/gsm8k_$method.sh" "${where[@]}" "trainer.default_local_dir=$out/gsm8k_$method" \
        "actor_rollout_ref.model.path=$inputs/model" "data.train_files=$inputs/questions.parquet" \
        "data.val_files=$inputs/questions.parquet" data.val_max_samples=16 data.max_prompt_length=512 \
        "data.max_response_length=$longest" trainer.total_training_steps=3 trainer.test_freq=3 trainer.save_freq=3 \
        2>&1 | tee "$out/gsm8k_$method.log"
done
scripts/python.sh -m cppo_verl report "$out/gsm8k_grpo" "$out/gsm8k_cppo" --out "$out/report"
echo "Everything is in $out"
