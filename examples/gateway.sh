#!/usr/bin/env bash
# Writes and reads through the gateway with curl. Needs GATEWAY_URL and GATEWAY_TOKEN (docs/gateway.md).
set -euo pipefail

gateway() { curl --silent --show-error --fail-with-body --header "Authorization: Bearer $GATEWAY_TOKEN" "$@"; }

# JSON is stored as JSON. With wait=settled the answer comes when every tier has it.
gateway --request PUT "$GATEWAY_URL/v1/items/curl.json?wait=settled&state=new" \
  --header 'Content-Type: application/json' --data '{"name":"Ann","tags":["a","b"]}'
echo
gateway "$GATEWAY_URL/v1/items/curl.json"
echo

# Any other type is stored as bytes.
printf 'bytes\0of any kind' | gateway --request PUT "$GATEWAY_URL/v1/items/curl.bytes?wait=settled" \
  --header 'Content-Type: application/octet-stream' --data-binary @-
echo

# An item a line, and an outcome a line.
printf '%s\n' '{"id":"curl.1","content":1}' '{"id":"curl.2","content":2}' |
  gateway "$GATEWAY_URL/v1/items:batch?wait=settled" --header 'Content-Type: application/x-ndjson' --data-binary @-

gateway "$GATEWAY_URL/v1/items?prefix=curl."
echo
