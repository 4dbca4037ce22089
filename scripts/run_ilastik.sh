#!/bin/sh
# Stands in for ilastik's start script: scripts that call it only change a path.
here=$(dirname "$0")
if [ -x "$here/pixelforest" ]; then exec "$here/pixelforest" "$@"; fi
exec pixelforest "$@"
