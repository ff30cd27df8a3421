# shellcheck shell=bash
# To be sourced by a job script with `#SBATCH --requeue --signal=B:USR1@120`.

# Runs a command. When Slurm says with USR1 that time is nearly up, ends it and puts the job back into the queue.
# What the command had done is on disk, and the same command goes on from there. Returns the command's status.
run_or_requeue() {
    local child="" told="" status=0
    trap 'told=yes; kill -TERM $child 2>/dev/null || true' USR1
    "$@" &
    child=$!
    if [[ -n $told ]]; then
        kill -TERM "$child" 2>/dev/null || true
    fi
    # ends when the command does, or at the signal
    wait "$child" && status=0 || status=$?
    if [[ -z $told ]]; then
        trap - USR1
        return "$status"
    fi
    for _ in {1..60}; do
        kill -0 "$child" 2>/dev/null || break
        sleep 1
    done
    echo "time is nearly up: job $SLURM_JOB_ID goes back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
    # Slurm ends this script
    sleep 300
    return 1
}
