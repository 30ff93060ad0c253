#!/usr/bin/env bash
# The first quarter of an hour on a GPU: what has to work, then what it saves, within a budget of time.
#   bash scripts/gpu_smoke.sh [OUT]                               12 minutes after the installation, on all GPUs or those
#                                                                 that CUDA_VISIBLE_DEVICES names
#   DEVICE=cpu GEOMETRY=small bash scripts/gpu_smoke.sh [OUT]     the same steps without a GPU
# OUT/steps.tsv says how each step ended; started again, the script leaves out those that are ok. After each step
# OUT/results.tgz holds everything but models. In the environment:
#   BUDGET   seconds for all steps together (720); a step for which too little is left is left out
#   MODEL    folder of a small model for the shipped scripts, such as SmolLM2-135M-Instruct; else random weights
#   BENCH    options of `cppo-verl bench` in place of three steps at each published P
#   PYTHON   the Python to run in, or with WHEELS to install for; with neither, scripts/setup.sh makes an environment
#   WHEELS   folder of wheels, where no registry can be reached: of this project (`pip wheel --no-deps .`) and of all that
#            `pip install '.[gpu]'` brings and the machine lacks, for its Python. They are called NAME.whl, or
#            NAME.whl.slice-00, NAME.whl.slice-01 and so on where one is cut, and lie in this folder or below it.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${DEVICE:-gpu} geometry=${GEOMETRY:-qwen2.5-1.5b} out=$(realpath -m "${1:-outputs/gpu_smoke}")
mkdir -p "$out"
# shellcheck source=scripts/steps.sh
source scripts/steps.sh
[ "$device" != gpu ] || gpus=$(count_gpus)
if [ -n "${WHEELS:-}" ]; then
    install_wheels "$WHEELS" "$out" "${PYTHON:-python3}" "$device"
elif [ -z "${PYTHON:-}" ]; then
    bash scripts/setup.sh "$device"
fi
start_clock "${BUDGET:-720}" "$out"

if [ "$device" = gpu ]; then
    small=qwen2.5-0.5b longest=512
    # A step of the benchmark at P = .9375 samples 2,048 completions: in one wave, as the published runs on two GPUs.
    waves=("actor_rollout_ref.rollout.max_num_seqs=$(((2048 + gpus - 1) / gpus))")
else
    gpus=1 small=small longest=64 waves=()
fi
where=("device=$device" "trainer.n_gpus_per_node=$gpus" "data.max_response_length=$longest")
small_inputs=$out/inputs large_inputs=$out/bench/inputs

# train NAME SCRIPT INPUTS MODEL OPTION...: three steps of a shipped script on the questions of INPUTS.
train() {
    local name=$1 script=$2 questions=$3/questions.parquet model=$4
    shift 4
    step "$name" 60 bash "recipe/cppo/$script.sh" "${where[@]}" data.max_prompt_length=512 \
        "data.train_files=$questions" "data.val_files=$questions" "actor_rollout_ref.model.path=$model" \
        trainer.total_training_steps=3 trainer.val_before_train=false trainer.test_freq=-1 trainer.save_freq=-1 \
        "trainer.default_local_dir=$out/$name" "$@"
}

step facts 1 bash -c 'nvidia-smi; scripts/python.sh -m cppo_verl doctor --json; scripts/python.sh -m pip freeze'
step inputs 10 scripts/python.sh -m cppo_verl.bench.inputs "$small_inputs" --geometry "$small" ${MODEL:+--model "$MODEL"}

model=${MODEL:-$small_inputs/model}
train grpo gsm8k_grpo "$small_inputs" "$model"
train cppo gsm8k_cppo "$small_inputs" "$model" trainer.save_freq=3
step eval 60 bash recipe/cppo/gsm8k_eval.sh "device=$device" "model=$out/cppo" \
    "+files.gsm8k=$small_inputs/questions.parquet" limit=64 "sampling.max_tokens=$longest"

# shellcheck disable=SC2086 # several words
step bench 120 scripts/python.sh -m cppo_verl bench --geometry "$geometry" --out "$out/bench" \
    ${BENCH:---short --rounds 1 --steps 3} "${where[@]}" "${waves[@]}"
runs=("$out"/bench/runs/*/metrics.jsonl) # GRPO first; also of a benchmark that ran out of time
[ ! -e "${runs[0]}" ] || step report 10 scripts/python.sh -m cppo_verl report "${runs[@]%/*}" --out "$out/report"

if [ -d "$large_inputs/model" ]; then model=$large_inputs/model; else large_inputs=$small_inputs; fi
train skip_old gsm8k_cppo "$large_inputs" "$model" cppo.pruning_rate=0.5 cppo.skip_old_log_prob=true \
    actor_rollout_ref.actor.ppo_epochs=1
train v1_sync gsm8k_cppo "$large_inputs" "$model" cppo.pruning_rate=0.5 trainer.use_v1=true
end_steps
