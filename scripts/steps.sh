# shellcheck shell=bash
# Steps within a budget of time, for scripts to source: what each printed, how it ended and how long it took is written
# before the next begins.

# install_wheels FOLDER OUT PYTHON STACK: wheels that lie in FOLDER or below, whole or in slices, into OUT/site. Ends the
# script where a slice is missing, or a package that this project needs with that stack (gpu or cpu).
install_wheels() {
    local folder=$1 whole=$2/wheels site=$2/site name
    mkdir -p "$whole"
    find "$(realpath "$folder")" -name '*.whl' -exec ln -sf -t "$whole" {} +
    find "$folder" -name '*.whl.slice-*' -printf '%f\n' | sed 's/\.slice-[0-9]*$//' | sort -u | while read -r name; do
        find "$folder" -name "$name.slice-*" -printf '%f\t%p\n' | sort | cut -f2 | xargs -d '\n' cat >"$whole/$name"
        "$3" -m zipfile --test "$whole/$name" >/dev/null || { echo "error: a slice of $name is missing" >&2; exit 1; }
    done
    "$3" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --upgrade \
        --target "$site" "$whole"/*.whl
    export PYTHON=$3 PYTHONPATH="$PWD:$site${PYTHONPATH:+:$PYTHONPATH}"
    export HF_HUB_OFFLINE=1 # where no registry can be reached; each question would wait for an answer
    "$PYTHON" scripts/missing_packages.py "$4"
}

# count_gpus: how many CUDA shows to a program. Of those that CUDA_VISIBLE_DEVICES lists, the ones before a -1.
count_gpus() {
    local count
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
        count=$(tr -d ' ' <<<"$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | sed '/^-1$/,$d' | sed '/^$/d' | wc -l)
    else
        count=$(nvidia-smi --list-gpus | wc -l)
    fi
    if [ "$count" -eq 0 ]; then
        echo "error: no GPU is visible${CUDA_VISIBLE_DEVICES+: CUDA_VISIBLE_DEVICES is '$CUDA_VISIBLE_DEVICES'}" >&2
        return 1
    fi
    echo "$count"
}

# start_clock SECONDS OUT: the budget of all steps, and where they are written.
start_clock() {
    steps_budget=$1 steps_out=$2 steps_failed=0
    SECONDS=0
    touch "$steps_out/steps.tsv"
}

# step NAME NEEDED COMMAND...: run it in what is left of the budget, unless that is less than NEEDED seconds, or it ended
# well before. A step that fails does not end the script.
step() {
    local name=$1 needed=$2 began=$SECONDS left=$((steps_budget - SECONDS)) code=0 ended=ok
    shift 2
    if grep -q "^$name"$'\t'"ok" "$steps_out/steps.tsv"; then
        echo "$name: ok before"
        return
    fi
    if [ "$left" -lt "$needed" ]; then
        note_step "$name" "left out" 0 "$left s left of the budget, at least $needed needed"
        return
    fi
    echo "$name: at most $left s, log in $steps_out/$name.log"
    timeout --kill-after=30 "$left" "$@" >"$steps_out/$name.log" 2>&1 || code=$?
    case $code in
    0) ;;
    124 | 137) ended="out of time" ;;
    *) ended=failed ;;
    esac
    note_step "$name" "$ended" $((SECONDS - began)) "$(last_words "$steps_out/$name.log")"
    [ "$ended" = ok ] || { steps_failed=1 && tail -n 15 "$steps_out/$name.log"; }
}

# last_words LOG: the last line as a terminal would show it, of a progress bar its last state.
last_words() { tail -n 1 "$1" | sed 's/\r*$//; s/.*\r//' | tr '\t' ' ' | cut -c1-200; }

# note_step NAME ENDED SECONDS REMARK: a line of steps.tsv in place of an earlier one, and results.tgz anew.
note_step() {
    local table=$steps_out/steps.tsv
    { grep -v "^$1"$'\t' "$table" || true; printf '%s\t%s\t%s\t%s\n' "$@"; } >"$table.new"
    mv "$table.new" "$table"
    echo "$1: $2, $3 s; $4"
    local packed
    packed=$(mktemp)
    # What a step left running may write meanwhile: tar's exit code is then 1.
    tar -C "$steps_out" -czf "$packed" --exclude='results.tgz' --exclude=site --exclude=wheels --exclude=initial \
        --exclude='global_step_*' --exclude='*.safetensors' --exclude='*.pt' --warning=no-file-changed . || [ $? = 1 ]
    mv "$packed" "$steps_out/results.tgz"
}

# end_steps: the table; the exit code is 1 where a step failed or ran out of time.
end_steps() {
    echo
    column -t -s $'\t' -N step,ended,seconds,remark "$steps_out/steps.tsv" 2>/dev/null || cat "$steps_out/steps.tsv"
    echo "Everything is in $steps_out; all but models in results.tgz"
    return "$steps_failed"
}
