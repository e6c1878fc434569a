#!/usr/bin/env bash
#SBATCH --job-name=superres
#SBATCH --array=1-8
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --gres=gpu:1
#
# One volume on many nodes, without Dask and without ports between nodes: every task of an array does its share.
#
#   sbatch pipelines/clusters/job_array.sh volume.ome.zarr model.safetensors out.ome.zarr
#   sbatch --array=1-20 --partition=gpu pipelines/clusters/job_array.sh volume.ome.zarr model.safetensors out.ome.zarr --trust off
#
# The task that ends last finishes the store: pyramid, trust summary, metadata. Should some have been killed, one task
# does what they have left undone, and finishes; JOB is the number that the first sbatch printed.
#
#   sbatch --array=1 --dependency=afterany:JOB pipelines/clusters/job_array.sh volume.ome.zarr model.safetensors out.ome.zarr
#
# PBS Pro, where the number of parts has to be told:
#
#   qsub -J 1-8 -l select=1:ncpus=8:ngpus=1 -v PARTS=8,JOB="volume.ome.zarr model.safetensors out.ome.zarr" job_array.sh
#   qsub -l select=1:ncpus=8:ngpus=1 -v JOB="volume.ome.zarr model.safetensors out.ome.zarr" job_array.sh
set -euo pipefail

if [ -n "${PBS_O_WORKDIR:-}" ]; then
  cd "$PBS_O_WORKDIR"
  read -ra words <<<"$JOB"
  set -- "${words[@]}"
fi
volume=$1 model=$2 out=$3
shift 3

# A single task does all that is undone.
parts=${SLURM_ARRAY_TASK_COUNT:-${PARTS:-1}}
first=${SLURM_ARRAY_TASK_MIN:-1}
task=${SLURM_ARRAY_TASK_ID:-${PBS_ARRAY_INDEX:-1}}
if [ "$parts" -gt 1 ]; then
  set -- "$@" --part "$((task - first + 1))/$parts"
fi
exec superres upscale "$volume" --model "$model" --out "$out" "$@"
