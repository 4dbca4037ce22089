#!/bin/bash
# A SLURM job array that distributes images over jobs, one shard per job:
#
#   SHARDS=8 sbatch --array=1-8 containers/slurm_array.sh MyProject.ilp results /data/images/*.tif
#
# results/report_<job>.json lists the outcome of every image. Jobs that were killed or preempted are submitted again by
# the same command; they skip what is done.
#
# One large image instead, divided into blocks. The last command completes it when all jobs of the array are done:
#
#   array=$(BLOCKS=8 sbatch --parsable --array=1-8 containers/slurm_array.sh MyProject.ilp results image.zarr)
#   FINISH=1 sbatch --dependency=afterok:$array containers/slurm_array.sh MyProject.ilp results image.zarr

#SBATCH --job-name=pixelforest
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=pixelforest_%A_%a.log
# For GPUs: #SBATCH --gpus-per-task=1

set -euo pipefail

usage() {
    echo "usage: SHARDS=N sbatch --array=1-N slurm_array.sh PROJECT.ilp RESULTS IMAGE [IMAGE ...]" >&2
    echo "       BLOCKS=N sbatch --array=1-N slurm_array.sh PROJECT.ilp RESULTS IMAGE" >&2
    echo "       FINISH=1 sbatch slurm_array.sh PROJECT.ilp RESULTS IMAGE" >&2
    exit 2
}

[ "$#" -ge 3 ] || usage
[ -n "${FINISH:-}" ] || [ -n "${SLURM_ARRAY_TASK_ID:-}" ] || usage
project=$1
results=$2
shift 2

if [ -n "${FINISH:-}" ]; then
    share=(--finish "--output_format=${FORMAT:-multi-scale OME-Zarr}")
elif [ -n "${BLOCKS:-}" ]; then
    share=("--blocks=$SLURM_ARRAY_TASK_ID/$BLOCKS" "--output_format=${FORMAT:-multi-scale OME-Zarr}")
elif [ -n "${SHARDS:-}" ]; then
    share=("--shard=$SLURM_ARRAY_TASK_ID/$SHARDS" --resume)
else
    usage
fi

# Threads: SLURM_CPUS_PER_TASK. Memory: the limit of the job. GPUs: CUDA_VISIBLE_DEVICES.
exec pixelforest --headless \
    --project="$project" \
    --output_filename_format="$results/{nickname}_{result_type}" \
    "${share[@]}" \
    --report_json="$results/report_${SLURM_ARRAY_TASK_ID:-finish}.json" \
    --no_progress \
    "$@"
