#!/bin/sh
# CoOp's lpclip extracts features first; here a run extracts and keeps what it needs, so this only says so.
set -eu
echo "features are extracted and kept by the runs that need them; go on with lpclip/linear_probe.sh"
