#!/bin/sh
# Ask the predictor about one flight, with curl alone. From the repository's root:
#   sh examples/predict.sh [scheduled departure, UTC]      for example: sh examples/predict.sh 2013-01-28T15:15:00Z
# Endpoint and token come from .local/stack.env, or from PREDICTOR_URL and PREDICTOR_TOKEN in the environment.
set -eu

if [ -z "${PREDICTOR_URL:-}" ] && [ -f .local/stack.env ]; then
    set -a
    . ./.local/stack.env
    set +a
fi
: "${PREDICTOR_URL:?set it, or run from a checkout whose stack is up (make up)}" "${PREDICTOR_TOKEN:?set it}"

departure=${1:-2013-01-28T15:15:00Z}

# The header comes on standard input: an argument would show the token to everyone who can list processes.
printf 'Authorization: Bearer %s\n' "$PREDICTOR_TOKEN" |
    curl --silent --show-error --fail-with-body --header @- --header 'Content-Type: application/json' \
        --data "{\"subjects\": [{\"id\": \"UA-1545-EWR\", \"carrier\": \"UA\", \"flight\": 1545, \"origin\": \"EWR\",
                 \"dest\": \"IAH\", \"tailnum\": \"N14228\", \"distance\": 1400,
                 \"scheduled_departure\": \"$departure\"}]}" \
        "$PREDICTOR_URL/v1/flight_delay/predict"
echo
