#!/bin/bash
# A sweep on nodes that Slurm gives: sbatch clusters/slurm.sh fixed_tau [options of the sweep]
# Run it from this project's folder, on a file system that all nodes see; the same command again continues.
#SBATCH --job-name=tsrnn
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=3-00:00:00
set -euo pipefail
sweep=${1:?name a sweep: sbatch clusters/slurm.sh fixed_tau [options]}
shift

# .venv on the file system that all nodes see; or an image, which has the code and its packages:
#   apptainer build tsrnn.sif docker://YOUR-REGISTRY/tsrnn:cuda      and      TSRNN_IMAGE=tsrnn.sif sbatch clusters/slurm.sh ...
if [ -n "${TSRNN_IMAGE:-}" ]; then
  sweeps=/home/tsrnn/tsrnn/sweeps
  run=(apptainer exec --nv "$TSRNN_IMAGE")
else
  source .venv/bin/activate
  sweeps=sweeps
  run=(env)
fi

# The secret of this Ray, in a file that only you can read: other users of these machines cannot join.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$PWD/.ray-token-$SLURM_JOB_ID
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$RAY_AUTH_TOKEN_PATH")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

# Slurm has given this job its cores: its trials stand back for nobody (Ray's own choice is a niceness of 15).
export RAY_worker_niceness=0

# A port of this job's own: another job may share the head's machine.
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes%%$'\n'*}
port=$((20000 + SLURM_JOB_ID % 20000))
address=$head:$port

# Nodes boot, and a busy file system takes its time: Ray waits for them for ten minutes, not for half of one.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=600

# On every node: starts Ray there, runs the sweep on the head's, stops Ray. It needs nodes of its own: it refuses to
# start beside another Ray of yours, and ends it. srun gives a step one CPU a task unless it is told.
# Where trials share a GPU, start NVIDIA's MPS in the same step, before Ray:
#   srun --cpus-per-task="$SLURM_CPUS_PER_TASK" sh -c 'nvidia-cuda-mps-control -d && exec "$@"' mps ray symmetric-run ...
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" "${run[@]}" ray symmetric-run --address "$address" --min-nodes "$SLURM_NNODES" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" -- \
  python "$sweeps/$sweep.py" "$@"
