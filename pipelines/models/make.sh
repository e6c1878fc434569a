#!/usr/bin/env bash
# A model of the package from its recipe to its card, and the page of it in the documentation:
#
#   export SUPERRES_DATA=/folder/with/the/images
#   pipelines/models/make.sh em-x4           # its runs and reports go below runs/; what is there is not made again
#   pipelines/models/make.sh em-x4 /elsewhere
#
# Beside every model a plain net of the same size is trained as long (for fluo-restore as long as on the real pairs), with
# an L1 loss alone, as pipelines/README.md has it; the card shows both.
set -euo pipefail
cd "$(dirname "$0")/../.."

name=${1:?which model? em-x4, em-x2, fluo-x2 or fluo-restore}
runs=${2:-runs}
: "${SUPERRES_DATA:?set it to the folder that the manifests refer to}"
machine=${MACHINE:-2 cores of an AMD EPYC, no GPU}
model=superres/sharing/models/$name.safetensors
plain=(--set name=plain --set preset=null --set loss.charbonnier_epsilon=1e-6 --set 'phases=[{name: plain, share: 1}]'
  --set model.consistency_sigma=0 --set augment.probability=0 --set augment.own_range=0 --set augment.coarser=0
  --set augment.rectangle=0)
baselines='baselines=[nearest,bicubic,lanczos,richardson-lucy]'
electron=(--modality electron
  --not-for 'light microscopy, or pictures of other kinds'
  --not-for 'micrographs of other specimens than tissue and cells, such as materials or single molecules'
  --not-for 'other factors, or factors along Z')
light=(--modality light
  --not-for 'electron microscopy, brightfield, phase contrast'
  --not-for 'single molecules, and other images of separate points'
  --not-for 'other factors, or factors along Z')
both=(--not-for 'counting or measuring what is finer than the recording resolves: it is predicted, not seen')

case $name in
em-x4)
  sets=(--manifest data_manifests/em.yaml --manifest data_manifests/em_celegans.yaml)
  words=("${electron[@]}") steps=3000
  purpose='Electron micrographs of tissue and cells that were scanned fast with pixels 4 times larger along Y and X' ;;
em-x2)
  sets=(--manifest data_manifests/em.yaml --manifest data_manifests/em_celegans.yaml)
  words=("${electron[@]}") steps=8000
  purpose='Electron micrographs of tissue and cells that were scanned fast with pixels 2 times larger along Y and X' ;;
fluo-x2)
  sets=(--manifest data_manifests/fluorescence.yaml --manifest data_manifests/fluorescence_more.yaml)
  words=("${light[@]}") steps=6000
  purpose='Fluorescence and confocal images of cells with pixels 2 times larger along Y and X and little light' ;;
fluo-restore)
  sets=(--manifest data_manifests/pairs_snr.yaml)
  words=("${light[@]}") steps=1500
  plain+=(--set start_from=null --set layer_rates=null)
  baselines='baselines=[nearest,nlm,gaussian,richardson-lucy]'
  purpose='Fluorescence images of cells recorded with little light: the noise goes, the pixels stay' ;;
*)
  echo "$name is no model of the package: em-x4, em-x2, fluo-x2, fluo-restore" >&2
  exit 2 ;;
esac

train() { # recipe, run, settings: unless it is there
  [ -e "$runs/$2/model.safetensors" ] || superres train "pipelines/models/$1.yaml" --out "$runs/$2" "${@:3}"
}

[ "$name" != fluo-restore ] || train fluo-noise fluo-noise
if [ "$name" = fluo-restore ]; then
  train fluo-restore fluo-restore --set "start_from=$runs/fluo-noise"
else
  train "$name" "$name"
fi
train "$name" "$name-plain" "${plain[@]}" --set "steps=$steps"

# Nine acquisitions are the least for intervals that hold for new ones.
[ "$name" != fluo-x2 ] || superres calibrate "$runs/$name" "${sets[@]}"

score() { # model, report, manifests and settings: unless it is there
  [ -e "$runs/$2/report.json" ] || superres evaluate "$runs/$1" --out "$runs/$2" \
    --set "models.unet=$runs/$name-plain" --set "$baselines" "${@:3}"
}

score "$name" "$name-report" "${sets[@]}"
reports=(--evaluation "$runs/$name-report")
if [ "$name" = fluo-restore ]; then
  # What it gained on real pairs, and what it forgot of simulated noise.
  simulated=(--manifest data_manifests/fluorescence.yaml --set 'baselines=[nearest,gaussian,richardson-lucy]')
  noise='degrade=[{blur: {sigma: [0.0, 0.8]}}, {poisson: {photons: [4, 400]}}, {read_noise: {sd: [0.005, 0.1]}}]'
  score fluo-restore fluo-restore-simulated "${simulated[@]}" --set "$noise"
  score fluo-noise fluo-noise-report "${sets[@]}"
  score fluo-noise fluo-noise-simulated "${simulated[@]}" --set "$noise"
  reports+=(--evaluation "$runs/fluo-restore-simulated")
  reports+=(--before "$runs/fluo-noise-report" --before "$runs/fluo-noise-simulated")
fi
superres models describe "$runs/$name" --out "$model" "${reports[@]}" --for "$purpose" \
  "${words[@]}" "${both[@]}" --licence CC-BY-4.0 --machine "$machine"
superres models info "$model" --page "docs/models/$name.md" >/dev/null
