"""What `homeport init` writes, and the JSON Schema that `homeport schema` prints for editors.

1. The starter loads as it is, with OPENAI_API_KEY in the environment, and still loads with every `#key` uncommented.
2. The schema is for editors: it knows keys, types and forms. What parts say of each other only load.py knows.
"""

from __future__ import annotations

from typing import Any

from proxy.config.schema import Config

_STARTER = """\
# Homeport's configuration. `homeport check` finds its faults; `homeport serve` serves it.
# Lines that begin with # and a space explain; take the # from the others to use them.
# Values may be read from the environment or from a file: ${NAME}, ${NAME:-default}, ${file:/run/secrets/name}.
# For completion in an editor: `homeport schema > homeport.schema.json`, and then as the first line of this file
# yaml-language-server: $schema=homeport.schema.json

version: 1

# Where the API is served, and where metrics and health are. Beyond loopback, `clients` must be set.
listen: 127.0.0.1:8080
admin:
  listen: 127.0.0.1:8081

# An assistant names itself in this header. A request that names none is `default`'s.
identity:
  header: X-Assistant-Id
  default: support-bot

# Who may call: keys are kept as their SHA-256 (printf %s "$KEY" | sha256sum). Without any, whoever reaches `listen`.
#clients:
#  - id: web
#    key_sha256: 0000000000000000000000000000000000000000000000000000000000000000
#    assistants: [support-bot]

# Where models are served.
sources:
  openai:
    kind: openai
    api_key: ${OPENAI_API_KEY}
# A Claude behind OpenAI's API: chat completions are translated, see docs/anthropic.md.
#  claude:
#    kind: anthropic
#    api_key: ${ANTHROPIC_API_KEY:-unused}
# Deployments of an Azure resource; `model` is the deployment. Without api_version: the API that has no versions.
#  azure:
#    kind: azure-openai
#    base_url: https://my-resource.openai.azure.com
#    api_version: "2024-10-21"
#    api_key: ${AZURE_OPENAI_API_KEY:-unused}
#  local:
#    kind: openai-compatible
#    base_url: http://127.0.0.1:11434/v1
#    default_model: llama3.3
#    api_key: ${LOCAL_API_KEY:-unused}
#    headers: {X-Team: support}
#    forward_headers: [X-Trace]
#    max_connections: 100
#    proxy: http://127.0.0.1:3128

# Who calls, and the chain of each: the primary tier, then the fallbacks in order.
assistants:
  support-bot:
    primary: {source: openai, model: gpt-5.4}
    fallbacks:
      - {source: openai, model: gpt-5.4-mini}
#      - {source: claude, model: claude-sonnet-4-6}
#      - {source: local, model: llama3.3, params: {drop: [service_tier], cap: {max_tokens: 4096}}}

# Embeddings need a chain of their own, of one model: vectors of two models do not fit in one index.
#    chains:
#      embeddings:
#        primary: {source: openai, model: text-embedding-3-small}

# Limits of time; these are the defaults.
#    timeouts: {connect: 5s, first_byte: 30s, first_token: 5m, idle: 5m, total: 10m, hold: 15s}

# When a tier counts as dead, and when it is tried again; may also stand under a source. These are the defaults.
#breaker: {failure_threshold: 3, failure_rate: 50%, minimum_calls: 20, cooldown: 15s, cooldown_max: 5m}

# What one replica takes on; these are the defaults.
#limits: {body: 32MiB, in_flight: 1000, buffered: 256MiB, max_fallbacks: 3, drain: 30s}
"""


def starter() -> str:
    """A commented configuration to start from, as YAML."""
    return _STARTER


def json_schema() -> dict[str, Any]:
    """The configuration as JSON Schema, draft 2020-12."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Homeport configuration"}
