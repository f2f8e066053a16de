#!/bin/sh
# Installs the gateways that bench_gateway compares with, each into an environment of its own, from PyPI and npm, pinned.
# Usage: benchmarks/peers/install_gateways.sh [FOLDER]   (default: .cache/peers)
set -eu
folder=${1:-.cache/peers}
mkdir -p "$folder"

if [ ! -x "$folder/litellm/bin/litellm" ]; then
    python3 -m venv "$folder/litellm"
    "$folder/litellm/bin/pip" install --quiet --disable-pip-version-check 'litellm[proxy]==1.106.2'
fi
if [ ! -d "$folder/portkey/node_modules/@portkey-ai/gateway" ]; then
    mkdir -p "$folder/portkey" # with later versions of its HTTP server none of its streams gets through
    echo '{"dependencies": {"@portkey-ai/gateway": "1.15.2"}, "overrides": {"@hono/node-server": "1.13.8"}}' \
        > "$folder/portkey/package.json"
    npm install --silent --no-audit --no-fund --prefix "$folder/portkey"
fi
if [ ! -x "$folder/routellm/bin/python" ]; then # pinned to versions with which it starts
    python3 -m venv "$folder/routellm"
    "$folder/routellm/bin/pip" install --quiet --disable-pip-version-check 'routellm==0.2.0' 'numpy==1.26.4' \
        'datasets==3.6.0' 'openai==2.54.0' 'transformers==5.23.0' 'torch==2.13.0' \
        --extra-index-url https://download.pytorch.org/whl/cpu
fi
# what its server needs and its package does not bring
"$folder/routellm/bin/pip" install --quiet --disable-pip-version-check fastapi uvicorn shortuuid
