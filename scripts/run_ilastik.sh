#!/bin/sh
# Stands in for ilastik's start script: scripts that call it only change a path.
PIXELFOREST_STARTED_AS=run_ilastik.sh
export PIXELFOREST_STARTED_AS
here=$(dirname "$0")
if [ -x "$here/pixelforest" ]; then exec "$here/pixelforest" "$@"; fi
exec pixelforest "$@"
