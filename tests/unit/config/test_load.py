"""Loading: every fault at once with its place, no secret in any of them, and what the command line may change."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import checks, load, starter
from proxy.config.addresses import Address
from proxy.config.schema import Config

_SECRET = "sk-very-secret-0123456789"

_SAMPLE = """\
version: 1
listen: 127.0.0.1:8080               # data plane
admin: {listen: 127.0.0.1:8081, token: ${HOMEPORT_ADMIN_TOKEN}}
store: memory                        # or redis://… | rediss://… | redis+sentinel://…/name | redis+cluster://…
state_dir: ./homeport-state          # revisions made through the API or the page, kept on disk
identity: {header: X-Assistant-Id, default: support-bot}
clients:                             # who may call; none are needed while listening on loopback only
  - {id: web, key_sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08, assistants: [support-bot]}
sources:
  openai: {kind: openai, api_key: ${OPENAI_API_KEY}}
  other:  {kind: openai, base_url: "https://x.example.com/v1", api_key: ${file:azure}}
  claude: {kind: openai-compatible, base_url: "https://y.example.com/v1", api_key: ${ANTHROPIC_API_KEY:-none, yet},
           headers: {}, forward_headers: [], max_connections: 100}
  local:  {kind: openai-compatible, base_url: http://127.0.0.1:11434/v1}   # also: proxy, ca_file
assistants:
  support-bot:
    primary:   {source: openai, model: gpt-5.4}
    fallbacks:
      - {source: claude, model: claude-sonnet-4-6}
      - {source: local,  model: llama3.3}
    timeouts: {connect: 5s, first_byte: 30s, first_token: 5m, idle: 5m, total: 10m, hold: 15s}
limits: {body: 32MiB, in_flight: 1000, buffered: 256MiB}
"""


def _faults(text: str, **env: str) -> list[str]:
    read = load.parse(text, "f", env, Path())
    assert isinstance(read, tuple)
    return [str(fault) for fault in read]


def test_the_documented_sample_loads(tmp_path: Path) -> None:
    """References may stand bare in `{…}`, as the documentation writes them."""
    (tmp_path / "azure").write_text("sk-azure\n")
    (tmp_path / "homeport.yaml").write_text(_SAMPLE)
    env = {"HOMEPORT_ADMIN_TOKEN": "token", "OPENAI_API_KEY": "sk-openai"}
    config = load.read(tmp_path / "homeport.yaml", env)
    assert isinstance(config, Config)
    keys = {name: source.api_key and source.api_key.get_secret_value() for name, source in config.sources.items()}
    assert keys == {"openai": "sk-openai", "other": "sk-azure", "claude": "none, yet", "local": None}
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "token"
    assert [each.model for each in config.assistants["support-bot"].fallbacks] == ["claude-sonnet-4-6", "llama3.3"]
    assert load.notices(config) == ()


def test_all_faults_come_at_once_in_order() -> None:
    """Syntax of values, unknown keys, missing keys, kinds, bounds and references: one run tells them all, by line."""
    text = """\
version: 1
listen: ":80"
store: redis+cluster://h
sources:
  openai: {kind: openai, api_key: ${NOBODY}, max_connections: 0}
  mine:  {kind: some-account}
  local: {kind: openai-compatible}
assistants:
  Bot: {}
  a:
    primary: {source: opnai, model: m}
    fallbacks:
      - {source: openai, modle: m}
      - {source: mine, model: 5}
      - {source: elsewhere, model: m}
    timeouts: {hold: long}
assistant: {}
identity: {default: nobody}
edits: true
"""
    assert _faults(text) == [
        "f:2:9: listen: an address needs a host; write 127.0.0.1:PORT for this machine, 0.0.0.0:PORT for all",
        "f:3:8: store: `redis+cluster` is not served by this version; write redis://, rediss:// or unix://",
        "f:5:35: sources.openai.api_key: the environment has no NOBODY; set NOBODY, or write ${NOBODY:-default}",
        "f:5:63: sources.openai.max_connections: out of bounds: it must be 1 to 10000; "
        "choose a value within the bounds",
        "f:6:17: sources.mine.kind: expected a kind of source; "
        "it can be `openai`, `openai-compatible`, `azure-openai`, `anthropic`, `claude-account`, `chatgpt-account`",
        "f:7:10: sources.local.base_url: kind `openai-compatible` needs a base_url; "
        "add it, like base_url: http://127.0.0.1:11434/v1",
        "f:9:3: assistants.Bot: not an assistant id; "
        "use up to 63 of a-z, 0-9, `.`, `_` and `-`, a letter or digit first",
        "f:11:23: assistants.a.primary.source: `opnai` does not stand under `sources`; did you mean `openai`?",
        "f:13:26: assistants.a.fallbacks.0.modle: unknown key; did you mean `model`?",
        "f:14:31: assistants.a.fallbacks.1.model: expected text, found a number; "
        "write text, in quotes if it looks like a number",
        "f:15:18: assistants.a.fallbacks.2.source: `elsewhere` does not stand under `sources`; sources has `openai`",
        "f:16:22: assistants.a.timeouts.hold: expected a duration, found other text; write it like 500ms, 5s, 5m or 1h",
        "f:17:1: assistant: unknown key; did you mean `assistants`?",
        "f:18:21: identity.default: `nobody` does not stand under `assistants`; assistants has `a`",
        "f:19:8: edits: expected on or off; it can be `on`, `off`",
    ]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["f:1:1: the file is empty; `homeport init` writes one to start from"]),
        ("# nothing\n", ["f:1:1: the file is empty; `homeport init` writes one to start from"]),
        ("[a]", ["f:1:1: expected a mapping of keys; `homeport init` writes one to start from"]),
        ("{}", ["f:1:1: version: `version` is missing; add version: 1"]),
        ("version: 2\nfuture: {key: ${NOBODY}}", [
            "f:1:10: version: a newer version than this Homeport reads, which is 1; "
            "serve it with the Homeport that it was written for, or go back to the file kept from before"
        ]),
        ("version: 0", ["f:1:10: version: there is no such version; this Homeport reads 1; write version: 1"]),
        ("version: one\nedits: true", [
            "f:1:10: version: expected the version of the file's form, a whole number; write version: 1",
            "f:2:8: edits: expected on or off; it can be `on`, `off`",
        ]),
        ("version: 1\nassistants: []", [
            "f:2:13: assistants: expected a mapping of keys, found a list; write it like {key: value}"
        ]),
        ("version: 1\nadmin: x", ["f:2:8: admin: expected a mapping of keys, found text; write it like {key: value}"]),
        ("version: 1\nclients: closed", [
            "f:2:10: clients: expected a list of clients or the word for anybody; it can be `open`"
        ]),
        ("version: 1\nclients: [{}]", [
            "f:2:11: clients.0.id: `id` is missing; add id: …",
            "f:2:11: clients.0.key_sha256: `key_sha256` is missing; add key_sha256: …",
        ]),
        ("version: 1\nclients: [{idd: x}]", [
            "f:2:11: clients.0.key_sha256: `key_sha256` is missing; add key_sha256: …",
            "f:2:12: clients.0.idd: unknown key; did you mean `id`?",
        ]),
        ("version: 1\nassistants: {a: {<<: {}}}", [
            "f:2:18: assistants.a.<<: merge keys are not read; write the keys out, or use an alias for the whole value"
        ]),
        ("version: 1\nadmin: {zzz: 1}", ["f:2:9: admin.zzz: unknown key; known here: `listen`, `token`"]),
        ("version: 1\nassistants: {primary: {modle: 1}}", [
            "f:2:24: assistants.primary.modle: unknown key; known here: "
            "`primary`, `fallbacks`, `chains`, `timeouts`, `breaker`"
        ]),
        ("version: 1\nassistants: {a: {chains: {audio: {}}}}", [
            "f:2:27: assistants.a.chains.audio: expected a chain; it can be `embeddings`"
        ]),
        ("version: 1\nsources: {s: {kind: openai}}\n"
         "assistants: {a: {primary: {source: s, model: m, params: {set: {stream: false}}}}}", [
            "f:3:64: assistants.a.primary.params.set.stream: `stream` cannot be changed by params; "
            "the caller alone says whether it wants a stream: leave it out"
        ]),
        ("version: 1\nsources: {s: {kind: openai, faults: [{cause: server}]}}", [
            "f:2:38: sources.s.faults.0: a rule that matches every error; give it a status, a code, a type or a phrase"
        ]),
    ],
)  # fmt: skip
def test_a_fault_says_where_what_and_what_to_do(text: str, faults: list[str]) -> None:
    """Each kind of fault in its exact words."""
    assert _faults(text) == faults


def test_conclusions_from_what_is_at_fault_are_not_drawn() -> None:
    """A mistaken key does not bring a second fault for what it was meant to say."""
    assert _faults("version: 1\nlisten: 0.0.0.0:80\nclints: open") == [
        "f:3:1: clints: unknown key; did you mean `clients`?"
    ]
    wrong_sources = "version: 1\nsource: {s: {kind: openai}}\nassistants: {a: {primary: {source: s, model: m}}}"
    assert _faults(wrong_sources) == ["f:2:1: source: unknown key; did you mean `sources`?"]


@pytest.mark.parametrize("value", ["${NOBODY}", "null", "5", "[]", "''"])
def test_a_required_value_that_is_none_is_one_fault(value: str) -> None:
    """A model that is missing in whatever way is told once, and never served."""
    told = _faults(
        f"version: 1\nsources: {{s: {{kind: openai}}}}\nassistants: {{a: {{primary: {{source: s, model: {value}}}}}}}"
    )
    assert len(told) == 1
    assert told[0].startswith("f:3:46: assistants.a.primary.model: ")


def test_values_from_the_environment_fit_any_field() -> None:
    """A reference may stand for a number, an address or a duration."""
    text = "version: 1\nlisten: 127.0.0.1:${PORT}\nlimits: {in_flight: ${MANY}, drain: ${DRAIN:-7s}}"
    config = load.parse(text, "f", {"PORT": "9000", "MANY": "12"}, Path())
    assert isinstance(config, Config)
    assert (config.listen.port, config.limits.in_flight, config.limits.drain) == (9000, 12, 7.0)


_PLACES = [
    "version: ${S}",
    "version: 1\nlisten: ${S}",
    "version: 1\nadmin: {listen: ${S}, token: ${S}}",
    "version: 1\nstore: ${S}",
    "version: 1\nidentity: {header: 'a ${S}', default: ${S}}",
    "version: 1\nidentity: {default: ${S}}\nassistants: {a: {}}",
    "version: 1\nclients: ${S}",
    "version: 1\nclients: [{id: 'a ${S}', key_sha256: ${S}, assistants: [${S}]}]",
    "version: 1\nsources: {s: {kind: ${S}, api_key: ' ${S}'}}",
    "version: 1\nsources: {s: {kind: openai, base_url: 'http://u:${S}@h', proxy: 'x ${S}'}}",
    "version: 1\nsources: {s: {kind: openai, ca_file: ${S}, max_connections: ${S}}}",
    "version: 1\nsources: {s: {kind: openai, headers: {A: \"${S}\\n\", B: 5}, forward_headers: [\"${S}: x\"]}}",
    "version: 1\nsources: {s: {kind: openai, faults: [{status: ${S}, cause: ${S}}]}}",
    "version: 1\nassistants: {a: {primary: {source: ${S}, model: ${S}}, fallbacks: [{source: ${S}, model: ${S}}]}}",
    "version: 1\nassistants: {a: {primary: {source: s, model: m, params: {drop: [${S}], cap: {a: ${S}}}}}}",
    "version: 1\nassistants: {a: {primary: {source: s, model: m, context: ${S}, supports: [${S}]}}}",
    "version: 1\nassistants: {a: {primary: ${S}, fallbacks: ${S}, chains: {embeddings: ${S}}, timeouts: {hold: ${S}}}}",
    "version: 1\nbreaker: {failure_rate: ${S}, cooldown: ${S}}\nlimits: {body: ${S}}\nedits: ${S}",
]  # fmt: skip


@pytest.mark.parametrize("place", _PLACES)
def test_a_substituted_secret_is_in_no_fault(place: str) -> None:
    """Wherever a secret was put by mistake, no fault repeats it."""
    read = load.parse(place, "f", {"S": _SECRET}, Path())
    assert isinstance(read, tuple)
    assert _SECRET not in repr(read)
    assert _SECRET not in "".join(map(str, read))


@pytest.mark.parametrize(
    "line",
    [
        f"api_key: '{_SECRET} '",
        f"api_key: *{_SECRET}",
        f"headers: {{A: '{_SECRET} '}}",
        f"base_url: 'http://a:{_SECRET}@h'",
    ],
)
def test_a_secret_that_was_written_out_is_in_no_fault(line: str) -> None:
    """A secret that stands in the file itself is not repeated either."""
    told = _faults(f"version: 1\nsources:\n  s:\n    kind: openai\n    {line}\n")
    assert len(told) == 1
    assert _SECRET not in told[0]


def test_a_served_configuration_shows_no_secret() -> None:
    """Neither str nor repr of a configuration gives away a key, a token, a header or a proxy's password."""
    text = """
version: 1
admin: {token: ${S}}
sources: {s: {kind: openai, api_key: ${S}, headers: {X-Key: ${S}}, proxy: "http://u:${S}@h"}}
"""
    config = load.parse(text, "f", {"S": _SECRET}, Path())
    assert isinstance(config, Config)
    assert config.sources["s"].headers["X-Key"].get_secret_value() == _SECRET
    assert config.sources["s"].proxy == f"http://u:{_SECRET}@h"
    assert _SECRET not in repr(config) + str(config)


def test_files_that_cannot_be_read_are_faults(tmp_path: Path) -> None:
    """A missing file, a folder and another encoding are told like any other fault."""
    told = load.read(tmp_path / "none.yaml", {})
    assert isinstance(told, tuple)
    start = "`homeport init` writes one to start from"
    assert [str(each) for each in told] == [f"{tmp_path}/none.yaml: cannot be read: No such file or directory; {start}"]
    told = load.read(tmp_path, {})
    assert isinstance(told, tuple)
    assert told[0].problem == "cannot be read: Is a directory"
    (tmp_path / "latin.yaml").write_bytes(b"version: 1\nstate_dir: caf\xe9\n")
    told = load.read(tmp_path / "latin.yaml", {})
    assert isinstance(told, tuple)
    assert [str(each) for each in told] == [f"{tmp_path}/latin.yaml:2:15: not UTF-8; save the file as UTF-8"]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    """Editors that begin a file with a mark are forgiven."""
    (tmp_path / "c.yaml").write_bytes(b"\xef\xbb\xbfversion: 1\n")
    assert isinstance(load.read(tmp_path / "c.yaml", {}), Config)


def test_a_key_in_the_environment_is_enough() -> None:
    """Without a file, one assistant passes every model through, for every endpoint."""
    config = load.from_environment({"OPENAI_API_KEY": "sk-a", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1/"})
    assert isinstance(config, Config)
    assert checks.find(config) == []
    (source,), (assistant,) = config.sources.values(), config.assistants.values()
    assert (source.kind, source.base_url) == ("openai", "http://127.0.0.1:9/v1")
    assert source.api_key is not None
    assert source.api_key.get_secret_value() == "sk-a"
    assert (list(config.assistants), config.identity.default) == (["default"], "default")
    assert assistant.primary is not None
    assert (assistant.primary.source, assistant.primary.model) == ("openai", "*")
    assert assistant.chains["embeddings"].primary == assistant.primary
    default = load.from_environment({"OPENAI_API_KEY": "sk-a", "OPENAI_BASE_URL": ""})
    assert isinstance(default, Config)
    assert default.sources["openai"].base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("env", "fault"),
    [
        ({}, "environment: OPENAI_API_KEY: not set, and there is no configuration file; "
         "set OPENAI_API_KEY, or write a configuration: `homeport init`"),
        ({"OPENAI_API_KEY": ""}, "environment: OPENAI_API_KEY: not set, and there is no configuration file; "
         "set OPENAI_API_KEY, or write a configuration: `homeport init`"),
        ({"OPENAI_API_KEY": "sk-a\n"}, "environment: OPENAI_API_KEY: it holds a line break, a control character, "
         "or white space around it; write the value alone"),
        ({"OPENAI_API_KEY": "sk-a", "OPENAI_BASE_URL": "sk-b"}, "environment: OPENAI_BASE_URL: expected a URL of "
         "http:// or https:// with a host; write it like http://127.0.0.1:11434/v1"),
    ],
)  # fmt: skip
def test_an_environment_that_is_not_enough_says_what_to_set(env: dict[str, str], fault: str) -> None:
    """The fault names the variable, and never its value."""
    read = load.from_environment(env)
    assert isinstance(read, tuple)
    assert [str(each) for each in read] == [fault]


def test_the_command_line_has_the_last_word_on_addresses() -> None:
    """An override replaces what the file says, and leaves the rest."""
    config = load.from_environment({"OPENAI_API_KEY": "sk-a"})
    assert isinstance(config, Config)
    changed = load.override(config, "127.0.0.1:0", "[::1]:0")
    assert isinstance(changed, Config)
    assert (changed.listen, changed.admin.listen) == (Address("127.0.0.1", 0), Address("::1", 0))
    assert changed.sources == config.sources
    assert load.override(config, None, None) == config


@pytest.mark.parametrize(
    ("listen", "admin", "faults"),
    [
        ("0.0.0.0:80", None, [
            "--listen: beyond loopback anybody could call; list `clients`, or write clients: open to let anybody call"
        ]),
        (None, "0.0.0.0:80", [
            "--admin: beyond loopback anybody could operate it; give admin a token, or listen on 127.0.0.1"
        ]),
        ("127.0.0.1:8081", None, ["--listen: `listen` and `admin.listen` are one address; choose another port"]),
        (":80", "x", [
            "--admin: expected host:port; write it like 127.0.0.1:8080",
            "--listen: an address needs a host; write 127.0.0.1:PORT for this machine, 0.0.0.0:PORT for all",
        ]),
    ],
)  # fmt: skip
def test_an_override_passes_the_same_checks(listen: str | None, admin: str | None, faults: list[str]) -> None:
    """The command line cannot open what a file could not."""
    config = load.from_environment({"OPENAI_API_KEY": "sk-a"})
    assert isinstance(config, Config)
    read = load.override(config, listen, admin)
    assert isinstance(read, tuple)
    assert [str(each) for each in read] == faults


def test_notices_tell_what_does_nothing() -> None:
    """What is accepted and not used, and what is configured to refuse, is said."""
    empty = load.parse("version: 1\nedits: off", "f", {}, Path())
    assert isinstance(empty, Config)
    assert load.notices(empty) == ("no assistants are configured: every request will be refused",)
    unbound = load.parse("version: 1\nassistants: {a: {primary: null}}", "f", {}, Path())
    assert isinstance(unbound, Config)
    assert load.notices(unbound) == ("assistant a is bound to nothing: its requests will be refused",)


def test_a_token_that_the_network_can_guess_is_told() -> None:
    """A short one is told where the listener is reachable from elsewhere; its value is not."""
    text = "version: 1\nadmin: {listen: '%s', token: %s}\nassistants: {a: {}}"
    for listen, token, told in (
        ("0.0.0.0:1", "short-one", True),
        ("0.0.0.0:1", "x" * 20, False),
        ("127.0.0.1:1", "short-one", False),
    ):
        config = load.parse(text % (listen, token), "f", {}, Path())
        assert isinstance(config, Config)
        said = str(load.notices(config))
        assert ("can guess" in said) is told
        assert token not in said


_NAMES = [
    "version",
    "1",
    "assistants",
    "sources",
    "a",
    "primary",
    "fallbacks",
    "model",
    "source",
    "kind",
    "openai",
    "clients",
]
_MARKS = [
    ": ",
    ":",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&x ",
    "*x",
    "!t ",
    "<<",
    "${A}",
    "${",
    "'",
    '"',
    "|",
]
_WORDS = st.sampled_from([*_NAMES, *_MARKS])


@given(st.text() | st.lists(_WORDS, max_size=40).map("".join))
def test_no_text_makes_loading_raise(text: str) -> None:
    """Whatever a file holds, the answer is a configuration or faults with their place."""
    read = load.parse(text, "f", {"A": "a"}, Path())
    assert isinstance(read, Config) or (read and all(fault.line >= 1 and fault.remedy for fault in read))


_LINES = starter.starter().splitlines(keepends=True)


@given(st.lists(st.integers(0, len(_LINES) - 1), max_size=6), st.integers(0, len(_LINES) - 1), st.text(max_size=8))
def test_no_edit_of_a_good_file_makes_loading_raise(dropped: list[int], place: int, inserted: str) -> None:
    """A good file with lines lost and something typed into one still loads, or says where it does not."""
    lines = [line for number, line in enumerate(_LINES) if number not in dropped]
    at = min(place, len(lines) - 1)
    lines[at] = lines[at].rstrip("\n") + inserted + "\n"
    read = load.parse("".join(lines), "f", {"OPENAI_API_KEY": "sk-a"}, Path())
    assert isinstance(read, Config) or (read and all(fault.line >= 1 and fault.remedy for fault in read))
