#!/usr/bin/env bash
# What irbench wants of an NVIDIA GPU, in pieces that end in time; the same command again goes on where it was stopped:
#
#   scripts/gpu.sh check    the tests that need a GPU: before any number is believed
#   scripts/gpu.sh bench    the paper's model with random weights, beside the reference and the machine's own rates; one step
#                           of every training
#   scripts/gpu.sh train    every model of the grid, several at once
#   scripts/gpu.sh grid     the cells whose models are trained, one at a time because each is timed
#
# Needs irbench's packages in PYTHON, and the photographs of cars196-holdout in DATA (see datasets/cars196-holdout.toml).
# SMALL=1 tries all of it on a CPU within minutes. scripts/README.md has the plan, the floors and the questions.
set -euo pipefail
cd "$(dirname "$0")/.."

pick() { if [ -z "${SMALL:-}" ]; then echo "$1"; else echo "$2"; fi; } # on a GPU, and for the trial on a CPU
export PYTHON=${PYTHON:-python3}
export DATA=${DATA:-data}                      # holds cars196/; only read
export WORK=${WORK:-runs/$(pick gpu gpu-trial)/work} # decoded photographs, models, vectors, logs: kept between pieces
export RESULTS=${RESULTS:-$(dirname "$WORK")/results} # one JSON file for each cell
export OUT=${OUT:-$(dirname "$WORK")/out}      # what to take home, at the end of every piece: a few small files
export LIMIT=${LIMIT:-540}                     # seconds after which a piece is stopped; its status is 75 then
export DEVICE=${DEVICE:-$(pick cuda cpu)}
export DATASET=${DATASET:-$(pick cars196-holdout digits)}
export SCALE=${SCALE:-$(pick small tiny)}
export EPOCHS=${EPOCHS-$(pick "" 1)}           # instead of the recipes': such results are stamped as shortened
export JOBS=${JOBS:-$(pick 8 1)}               # trainings at once: one alone leaves the GPU waiting for launches
export SEEDS=${SEEDS:-$(pick "0 1 2" 0)}
export ENCODERS=${ENCODERS-ft-clip cgd irt-r}
export IDENTIFIERS=${IDENTIFIERS-semantic hkm random hkm-200 hkm-500 rqvae}
export LENGTHS=${LENGTHS-yes}                  # 2, 4, 6 and 8 codes; empty: the recipe's 4 alone
export IRBENCH_QUIET=1 PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

irbench() { "$PYTHON" -m irbench "$@"; }

check() { "$PYTHON" -m pytest -q -m gpu tests; }

bench() {
  measure encode irbench bench encode --precision "$(pick bf16 fp32)" --batches "$(pick 1,16,64,128,256,512 1)" \
    --device "$DEVICE" --patience 1
  measure beam irbench bench beam --precision "$(pick bf16 fp32)" --beam-sizes "$(pick 1,10,20,30 1,10)" \
    --num-layers "$(pick 12,24 12)" --batches "$(pick 1,2,4,8,16,32,64,128,256,512 1)" --compare "" --device "$DEVICE" --patience 1
  # the reference decodes in float32
  measure reference irbench bench beam --precision fp32 --beam-sizes "$(pick 10,30 2)" --batches "$(pick 1,16 1)" \
    --num-layers 12 --compare "$(pick 1x10,1x30,16x30 1x2)" --device "$DEVICE" --patience 1
  measure graphs irbench bench beam --graphs --precision "$(pick bf16 fp32)" --beam-sizes "$(pick 1,10,20,30 2)" \
    --num-layers 12 --batches "$(pick 1,2,4,8,16,32 1)" --compare "" --device "$DEVICE" --patience 1
  measure trainings "$PYTHON" scripts/floor.py "$DEVICE"
  if [ "$DEVICE" = cuda ]; then # last, because compiling takes its time
    measure compiled irbench bench encode --compile --precision bf16 --batches 128,512 --device cuda --patience 1
  fi
}

# What has been measured once is not measured again.
measure() {
  local file=$WORK/bench/bench-$1.txt
  shift
  if [ -e "$file" ]; then return; fi
  echo "$*" | tee "$file.part"
  "$@" | tee -a "$file.part"
  mv "$file.part" "$file"
}

# One line for each training, seed by seed; what others start from comes first, then what answers most.
trainings() {
  local seed name
  for seed in $SEEDS; do
    for name in $ENCODERS; do
      echo "run --method $name --search linear --search ivfpq --search scann --search spann --seed $seed"
    done
    for name in $IDENTIFIERS; do echo "run --method irgen --identifier $name --seed $seed"; done
    if [ -n "$LENGTHS" ]; then echo "ablate length --seed $seed"; fi
  done
}

mark() { echo "$WORK/$1/${2// /_}"; } # of a line that is done: trained, or timed

train() {
  export -f irbench cells mark train_one
  trainings | xargs -P "$JOBS" -I{} bash -euo pipefail -c 'train_one "$1"' _ {}
}

# Cells that ask eight queries learn what whole ones learn; their times, spoilt by the others beside them, are for nothing.
train_one() {
  if [ -e "$(mark trained "$1")" ]; then return; fi
  export OMP_NUM_THREADS=$(((JOBS - 1 + $(nproc)) / JOBS))
  cells "$1" "$WORK/untimed" --max-queries 8 && touch "$(mark trained "$1")"
}

grid() {
  local line failed=0 names=()
  while read -r line; do
    if [ ! -e "$(mark trained "$line")" ] || [ -e "$(mark timed "$line")" ]; then continue; fi
    if cells "$line" "$RESULTS"; then touch "$(mark timed "$line")"; else failed=1; fi
  done < <(trainings)
  for line in $IDENTIFIERS; do
    if [ -e "$(mark trained "run --method irgen --identifier $line --seed ${SEEDS%% *}")" ]; then names+=(--identifier "$line"); fi
  done
  if [ -z "$EPOCHS" ] && [ ${#names[@]} -gt 0 ]; then # of fewer epochs it would know nothing, and train
    irbench show identifiers "${names[@]}" --seed "${SEEDS%% *}" --dataset "$DATASET" --scale "$SCALE" \
      --device "$DEVICE" --data "$DATA" --work "$WORK" --results "$RESULTS" >"$WORK/identifiers.txt"
  fi
  return $failed
}

# Run the cells of a line, their results to a folder; what irbench says goes to a log.
cells() {
  local line=$1 results=$2 start=$SECONDS log
  shift 2
  log=$WORK/log/$(basename "$results")_${line// /_}.txt
  # shellcheck disable=SC2086 # a line is several words
  if irbench $line --results "$results" "$@" --dataset "$DATASET" --scale "$SCALE" ${EPOCHS:+--epochs "$EPOCHS"} \
    --device "$DEVICE" --data "$DATA" --work "$WORK" >"$log" 2>&1 </dev/null; then
    echo "$((SECONDS - start)) s  $line"
  else
    echo "failed after $((SECONDS - start)) s  $line: see $log" >&2
    return 1
  fi
}

take_home() {
  cp "$WORK"/bench/* "$WORK/identifiers.txt" "$OUT" 2>/dev/null || true # those that are there by now
  tar -czf "$OUT/results.tgz" -C "$RESULTS" .
  tar -czf "$OUT/log.tgz" -C "$WORK" log
}

case ${1:-} in
  check | bench | train | grid) ;;
  *) sed -n '2,12s/^# \{0,1\}//p' scripts/gpu.sh >&2; exit 2 ;;
esac
if [ -n "${IN_TIME:-}" ]; then
  "$1"
  exit
fi
mkdir -p "$WORK"/{bench,log,trained,timed} "$RESULTS" "$OUT"
status=0
IN_TIME=yes timeout --kill-after=20 "$LIMIT" scripts/gpu.sh "$1" &
trap 'kill $!' INT TERM # the piece is a process group of its own, which no signal to this one reaches
while kill -0 $! 2>/dev/null; do wait $! || status=$?; done
take_home
if [ $status = 124 ]; then
  echo "$1: $LIMIT s are over; what is finished is kept, and the same command goes on from here" >&2
  status=75
fi
exit $status
