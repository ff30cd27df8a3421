#!/usr/bin/env bash
# Starts the trainer's processes of one node: `srun --ntasks-per-node=1 bash training/launch/slurm/node.sh -m MODULE ...`
#
# This is a file, and not a string in the job script, because SLURM_NODEID must be read where srun starts it: in the
# job script it is 0, and every node would call itself the first.
#
#   PYTHON              interpreter; .venv/bin/python by default
#   ACCELERATE_CONFIG   one of training/launch/accelerate/*.yaml; torchrun alone (DDP) by default
#   PROCESSES_PER_NODE  one for each GPU of the node by default, or 1 without GPUs
#   MAIN_ADDRESS        where the first node is reached; its name by default
#   MAIN_PORT           20000 and the last digits of the job's number by default
set -euo pipefail

python=${PYTHON:-.venv/bin/python}
nodes=${SLURM_STEP_NUM_NODES:-$SLURM_JOB_NUM_NODES}
per_node=${PROCESSES_PER_NODE:-${SLURM_GPUS_ON_NODE:-1}}
address=${MAIN_ADDRESS:-$(scontrol show hostnames "${SLURM_STEP_NODELIST:-$SLURM_JOB_NODELIST}" | head -n 1)}
port=${MAIN_PORT:-$((20000 + SLURM_JOB_ID % 20000))}

echo "node $SLURM_NODEID of $nodes: $per_node processes, rendezvous at $address:$port"
if [[ -n ${ACCELERATE_CONFIG:-} ]]; then
    exec "$python" -m accelerate.commands.accelerate_cli launch --config_file "$ACCELERATE_CONFIG" \
        --num_machines "$nodes" --num_processes "$((nodes * per_node))" --machine_rank "$SLURM_NODEID" \
        --main_process_ip "$address" --main_process_port "$port" "$@"
fi
exec "$python" -m torch.distributed.run --nnodes "$nodes" --nproc_per_node "$per_node" \
    --node_rank "$SLURM_NODEID" --master_addr "$address" --master_port "$port" "$@"
