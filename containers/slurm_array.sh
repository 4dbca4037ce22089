#!/bin/bash
# A SLURM job array that distributes images over jobs, one shard per job:
#
#   SHARDS=8 sbatch --array=1-8 containers/slurm_array.sh MyProject.ilp results /data/images/*.tif
#
# results/report_<shard>.json lists the outcome of every image. To repeat a shard that was killed:
#
#   SHARDS=8 sbatch --array=3 containers/slurm_array.sh MyProject.ilp results /data/images/*.tif

#SBATCH --job-name=pixelforest
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --output=pixelforest_%A_%a.log
# For GPUs: #SBATCH --gpus-per-task=1

set -euo pipefail

if [ "$#" -lt 3 ] || [ -z "${SHARDS:-}" ] || [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
    echo "usage: SHARDS=N sbatch --array=1-N slurm_array.sh PROJECT.ilp RESULTS IMAGE [IMAGE ...]" >&2
    exit 2
fi
project=$1
results=$2
shift 2

# Threads: SLURM_CPUS_PER_TASK. Memory: the limit of the job. GPUs: CUDA_VISIBLE_DEVICES.
exec pixelforest --headless \
    --project="$project" \
    --output_filename_format="$results/{nickname}_{result_type}" \
    --shard="$SLURM_ARRAY_TASK_ID/$SHARDS" \
    --report_json="$results/report_$SLURM_ARRAY_TASK_ID.json" \
    --no_progress \
    "$@"
