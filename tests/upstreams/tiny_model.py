"""A language model of 1.5 MB that llama.cpp runs, written as a GGUF file. It knows one thing: what follows what.

1. What it says depends on the last character of the last message alone: of a row in `ROWS` it says the rest. So a test
   knows every answer before it is given, and whether it came whole.
2. It is the same on every machine: its weights are counted, not learned, and the likeliest token is ahead by far.
3. It is one block of a Llama whose attention and feed-forward add nothing. A token's embedding is a place of its own;
   what follows is the row of the output that looks at that place.
4. Its chat template thinks and calls tools in the way of Hermes and Qwen, which llama.cpp finds out by itself.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

CALL = '{"name": "weather", "arguments": {"city": "Genoa"}}'
END = "</s>"
ROWS: tuple[tuple[str, ...], ...] = (
    (*"abcdefghijklmnopqrstuvwxyz", END),
    (*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A"),  # and on and on: it never ends by itself
    ("?", "<tool_call>\n", CALL[:19], CALL[19:34], CALL[34:], "\n</tool_call>", END),
    (":", "<think>\n", "Let me ", "see.", "\n</think>\n", "a"),
    ("$", '{"name":', '"Genoa"}', END),
)
"""What follows what."""

_TEMPLATE = """
{%- if tools %}<|im_start|>system
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools><|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>
{% endif -%}
{% if message.content is string %}{{ message.content }}{% endif -%}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% if messages[-1].content is string %}{{ messages[-1].content[-1:] }}{% endif %}{%- endif -%}
"""

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_PIECES = dict.fromkeys([*" ", *map(chr, range(33, 127)), *(piece for row in ROWS for piece in row if piece != END)])
_TOKENS: dict[str, int] = (
    {"<unk>": _UNKNOWN, "<s>": _CONTROL, END: _CONTROL}
    | {f"<0x{byte:02X}>": _BYTE for byte in range(256)}
    | {piece.replace(" ", "▁"): _NORMAL for piece in _PIECES}
)
"""Each with its type, in the order of their numbers."""
_WIDTH, _HEAD, _INNER, _ALIGNED = 400, 32, 32, 32
assert len(_TOKENS) <= _WIDTH
_TRAINED = 32_768
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def write(file: Path) -> Path:
    """Write it; the same file."""
    tensors = _tensors()
    values = _metadata()
    head = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(values))]
    head += [_string(key) + _value(value) for key, value in values.items()]
    data: list[bytes] = []
    offset = 0
    for name, (shape, weights) in tensors.items():
        sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head.append(_string(name) + sizes + struct.pack("<IQ", 0, offset))
        data.append(_padded(weights.tobytes()))
        offset += len(data[-1])
    file.write_bytes(_padded(b"".join(head)) + b"".join(data))
    return file


def _tensors() -> dict[str, tuple[tuple[int, ...], array[float]]]:
    number = {token: at for at, token in enumerate(_TOKENS)}
    count = len(number)
    places, follows = _zeros(_WIDTH * count), _zeros(_WIDTH * count)
    for each in range(count):
        places[each * _WIDTH + each] = 1.0
    for row in ROWS:
        for piece, following in pairwise(each.replace(" ", "▁") for each in row):
            follows[number[following] * _WIDTH + number[piece]] = 1.0
    ones = array("f", [1.0] * _WIDTH)
    tensors: dict[str, tuple[tuple[int, ...], array[float]]] = {
        "token_embd.weight": ((_WIDTH, count), places),
        "output_norm.weight": ((_WIDTH,), ones),
        "output.weight": ((_WIDTH, count), follows),
        "blk.0.attn_norm.weight": ((_WIDTH,), ones),
        "blk.0.ffn_norm.weight": ((_WIDTH,), ones),
    }
    silent = {"attn_output": (_HEAD, _WIDTH), "ffn_down": (_INNER, _WIDTH)}
    silent |= {f"attn_{each}": (_WIDTH, _HEAD) for each in "qkv"}
    silent |= {f"ffn_{each}": (_WIDTH, _INNER) for each in ("gate", "up")}
    for name, shape in silent.items():
        tensors[f"blk.0.{name}.weight"] = (shape, _zeros(shape[0] * shape[1]))
    return tensors


def _zeros(count: int) -> array[float]:
    return array("f", bytes(4 * count))


_Value = str | bool | int | float | Sequence[str] | Sequence[int] | Sequence[float]


def _metadata() -> dict[str, _Value]:
    llama: dict[str, _Value] = {
        "context_length": _TRAINED,
        "embedding_length": _WIDTH,
        "block_count": 1,
        "feed_forward_length": _INNER,
        "attention.head_count": 1,
        "attention.key_length": _HEAD,
        "attention.value_length": _HEAD,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": _HEAD,
        "vocab_size": len(_TOKENS),
    }
    tokenizer: dict[str, _Value] = {
        "ggml.model": "llama",
        "ggml.tokens": list(_TOKENS),
        "ggml.token_type": list(_TOKENS.values()),
        # Single characters are likelier than what is longer, so that a prompt is read character by character.
        "ggml.scores": [-float(len(token)) for token in _TOKENS],
        "ggml.unknown_token_id": 0,
        "ggml.bos_token_id": 1,
        "ggml.eos_token_id": 2,
        "ggml.add_space_prefix": False,
        "chat_template": _TEMPLATE,
    }
    return (
        {"general.architecture": "llama", "general.name": "what follows what"}
        | {f"llama.{key}": value for key, value in llama.items()}
        | {f"tokenizer.{key}": value for key, value in tokenizer.items()}
    )


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: _Value) -> bytes:
    match value:
        case bool():
            return struct.pack("<I?", _BOOL, value)
        case int():
            return struct.pack("<II", _U32, value)
        case float():
            return struct.pack("<If", _F32, value)
        case str():
            return struct.pack("<I", _STRING) + _string(value)
        case _:
            kind, items = {str: (_STRING, ""), int: (_I32, "i"), float: (_F32, "f")}[type(value[0])]
            texts = b"".join(_string(str(each)) for each in value)
            packed = struct.pack(f"<{len(value)}{items}", *value) if items else texts
            return struct.pack("<IIQ", _ARRAY, kind, len(value)) + packed


def _padded(raw: bytes) -> bytes:
    return raw + bytes(-len(raw) % _ALIGNED)
