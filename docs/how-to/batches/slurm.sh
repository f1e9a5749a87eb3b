#!/bin/bash
#SBATCH --job-name=editkit
#SBATCH --array=1-64
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --requeue
# One share of a job for each task of the array. Submit it again to go on: finished rows are not edited again.
set -u
# The folder must be one that all nodes share, or an object store.
editkit batch "$MANIFEST" -o "$OUTPUT" --part "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --json
status=$?
# 2 says that rows failed: their reasons are in the results, and the task did its work.
[ "$status" -eq 2 ] && exit 0
exit "$status"
