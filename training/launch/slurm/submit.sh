#!/usr/bin/env bash
# Runs each training of the loop as a Slurm job of its own, and waits for it:
#
#   python training/ei_loop.py ... --launcher \
#       "bash training/launch/slurm/submit.sh --nodes 2 --gpus-per-node 8 training/launch/slurm/train.sbatch"
#
# Everything before the job script are options of sbatch; the loop adds what is to be run. Jobs write to
# OUTPUT_FOLDER, which is logs/slurm by default.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

# The loop may itself run in a job, whose numbers are none of the new job's business.
while read -r name; do
    unset "$name"
done < <(compgen -v | grep '^SLURM_\|^SRUN_' | grep -v '^SLURM_CONF$')

# A loop that was killed and started again submits the same training again: the name lets the second job wait for
# the first, and then find its checkpoint there.
name=influence-train-$(printf '%s' "$*" | cksum | cut -d ' ' -f 1)
folder=${OUTPUT_FOLDER:-logs/slurm}
mkdir -p "$folder"
output=$folder/$name.out
if ! sbatch --wait --job-name="$name" --dependency=singleton --output="$output" "$@"; then
    tail -n 40 "$output" >&2 || true
    echo "the job failed; all of its output is in $output" >&2
    exit 1
fi
