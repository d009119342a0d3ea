#!/usr/bin/env bash
# Search the shipped corpus, deploy the winner, ask it three questions, stop it. Offline. Run twice if you like.
set -euo pipefail
cd "$(dirname "$0")/.."
lft="${LFT:-.venv/bin/lft}"
export HF_HUB_OFFLINE=1

# Whatever happens from here on, an endpoint that was started is stopped.
trap '"$lft" down runs/quickstart >/dev/null 2>&1 || true' EXIT

"$lft" down runs/quickstart >/dev/null 2>&1 || true
"$lft" search experiments/quickstart.yaml --replace
"$lft" deploy runs/quickstart
"$lft" predict runs/quickstart \
    "The keeper saved two penalties and the visitors went through" \
    "Parliament votes tonight on who pays for the new hospital" \
    "A firmware update left thousands of doorbells ringing at midnight"
"$lft" down runs/quickstart

cat <<'NEXT'

Next:
  open runs/quickstart/report.html                     the report, a single file
  .venv/bin/lft leaderboard runs/quickstart            front, ladder and winner again
  .venv/bin/lft init my-labels.csv                     an experiment file for your own data
  .venv/bin/lft deploy runs/quickstart                 the endpoint again; `lft down runs/quickstart` stops it
NEXT
