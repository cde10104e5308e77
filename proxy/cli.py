"""The `homeport` command: serve and demo, what asks a running replica, and what needs files alone.

1. Exit codes: 0 done, 1 could not, 2 the configuration or the command line is at fault.
2. Faults go to stderr, one line each, with the remedy; what was asked for goes to stdout.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson

import proxy
from proxy import serving
from proxy.config import cligate_file, load, migrated_file, migrations, starter
from proxy.workers import shares

_FILE = Path("homeport.yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    options = _parser().parse_args(arguments)
    code: int = options.run(options)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="homeport", description="A reverse proxy for the OpenAI API with explicit fallback chains."
    )
    parser.add_argument("--version", action="version", version=f"homeport {proxy.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        return made

    serve = command(
        "serve", _serve, "Serve the API. Without a file: ./homeport.yaml, else OPENAI_API_KEY from the environment."
    )
    serve.add_argument("-c", "--config", type=Path, metavar="FILE", help="the configuration to serve")
    serve.add_argument("--listen", metavar="HOST:PORT", help="overrides `listen`")
    serve.add_argument("--admin", metavar="HOST:PORT", help="overrides `admin.listen`")
    serve.add_argument("--as-worker", type=int, help=argparse.SUPPRESS)
    many = "processes that serve behind one address and share the `store`; auto: one for each CPU"
    for each in (serve, _on_files(command)):
        each.add_argument("--workers", type=shares.count, default=1, metavar="N", help=many)
    demo = command("demo", _demo, "Show what Homeport does, with simulated upstreams: no key, no config.")
    demo.add_argument("--once", action="store_true", help="end after the tour instead of staying up")
    status = _operators(command("status", _status, "Say how a running replica, its store and its breakers are."))
    status.add_argument("--json", action="store_true", help="the document itself, for machines")
    explain = _operators(command("explain", _explain, "Say why a request was answered so, or what one would meet now."))
    explain.add_argument("what", metavar="REQUEST_ID|ASSISTANT", help="a request's id, its caller's, or its upstream's")
    explain.add_argument("--endpoint", help="of an assistant's request: chat_completions, embeddings, …")
    explain.add_argument("--stream", action="store_true")
    explain.add_argument("--needs", action="append", default=[], metavar="WHAT", help="tools, images or json_schema")
    explain.add_argument(
        "--assume", action="append", default=[], metavar="TIER=STATE", help="like primary=open, 'x/m=parked for 60s'"
    )
    explain.add_argument("--json", action="store_true", help="the document itself, for machines")
    decisions = _operators(command("decisions", _decisions, "Search the records of requests, newest first."))
    for field, text in _SOUGHT.items():
        decisions.add_argument(f"--{field}", help=text)
    decisions.add_argument("--json", action="store_true", help="the document itself, for machines")
    test = _operators(command("test-binding", _test_binding, "Test a source and a model as a tier; asks no model."))
    test.add_argument("source")
    test.add_argument("model", nargs="?", help="else the source's default_model")
    test.add_argument("--assistant", metavar="ID", help="whose chain's checks it would have to pass")
    test.add_argument("--tier", help="as which tier of it: primary, fallback-1, …")
    test.add_argument("--reach", action="store_true", help="ask the source for its listing of models, which is free")
    test.add_argument("--json", action="store_true", help="the document itself, for machines")
    for act, text in _ACTS.items():
        hand = _operators(command(act, _act, text))
        hand.set_defaults(act=act)
        hand.add_argument("source")
        hand.add_argument("model")
        hand.add_argument("--assistant", metavar="ID", help="only this assistant's own breakers (`scope: assistant`)")
        if act == "isolate":
            hand.add_argument(
                "--for", dest="seconds", metavar="TIME", help="for how long, like 10m; else until release"
            )
    keys = command("keys", _keys_list, "Make a key for a client, or list the clients.").add_subparsers(
        required=True, metavar="new|list"
    )
    new = keys.add_parser("new", help="make a key: it is shown once, and kept as its SHA-256")
    new.set_defaults(run=_keys_new)
    new.add_argument("id", help="what logs call the client")
    new.add_argument("--assistant", action="append", default=[], metavar="ID", help="one that it may use; else all")
    new.add_argument("--write", action="store_true", help="add the client to the configuration, comments kept")
    for each in (new, keys.add_parser("list", help="list the clients")):
        each.add_argument("-c", "--config", type=Path, metavar="FILE", help="where they stand")
    command("schema", _schema, "Print the JSON Schema of the configuration, for editors.")
    return parser


_SOUGHT = {
    "assistant": "for whom",
    "tier": "who served: primary, fallback-1, …, or none",
    "outcome": "success, fallback_success, exhausted, …",
    "reason": "why a tier did not serve: open, rate_limited, http_503, …",
    "id": "how the request's id begins",
    "after": "Unix time of arrival",
    "before": "likewise",
    "limit": "how many, 1 to 500",
    "cursor": "to go on where another search ended",
}


def _on_files(command: Callable[[str, object, str], argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """The commands that need nothing but files; the one that checks them."""
    init = command("init", _init, "Write a commented configuration to start from.")
    init.add_argument("file", type=Path, nargs="?", default=_FILE)
    check = command("check", _check, "Check a configuration: every fault with its line and its remedy.")
    check.add_argument("file", type=Path, nargs="?", default=_FILE)
    check.add_argument("--diff", action="store_true", help="show what `homeport migrate` would change in the file")
    migrate = command("migrate", _migrate, "Print a configuration of an older version in the form of this one.")
    migrate.add_argument("file", type=Path, nargs="?", default=_FILE)
    migrate.add_argument("--write", action="store_true", help="write it, and keep the original as FILE.orig-<n>")
    bring = command("import", _import, "Turn another proxy's settings into a configuration of Homeport's.")
    bring.add_argument("product", choices=["cligate"], help="whose settings")
    bring.add_argument("file", type=Path, metavar="settings.json")
    bring.add_argument("--keys", type=Path, metavar="FILE", help="whose key is whose; default api-keys.json beside it")
    bring.add_argument("-o", "--output", type=Path, metavar="FILE", help="a new file to write; default stdout")
    return check


_ACTS = {
    "reset": "Close a binding's breakers and forget what they have met, once what disabled it is mended.",
    "isolate": "Keep requests off a binding, for a time or until release: how an outage is rehearsed.",
    "release": "End an isolation.",
}


def _operators(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help="where `admin.listen` and `admin.token` stand"
    )
    command.add_argument("--admin", metavar="URL", help="the operators' listener; default http://127.0.0.1:8081")
    return command


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _complain(*lines: object) -> int:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return 2


def _serve(options: argparse.Namespace) -> int:
    file = options.config or (_FILE if _FILE.exists() else None)
    told = serving.Told(file, options.listen, options.admin, options.workers, options.as_worker)
    ended = serving.serve(told, _say)
    return ended if isinstance(ended, int) else _complain(*ended)


def _demo(options: argparse.Namespace) -> int:
    return serving.demo(once=options.once)


def _init(options: argparse.Namespace) -> int:
    if code := _create(options.file, starter.starter(), "homeport init OTHER.yaml"):
        return code
    _say(
        f"Wrote {options.file}. Next: export OPENAI_API_KEY, `homeport check {options.file}`, "
        f"`homeport serve -c {options.file}`."
    )
    return 0


def _create(new: Path, text: str, otherwise: str) -> int:
    """Write a file that must not exist yet; an exit code, after the reason was told if it is not 0."""
    try:
        with new.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return _complain(f"{new} exists already and was left as it is; name another file: {otherwise}")
    except OSError as error:
        return _complain(f"{new} cannot be written: {error.strerror}")
    return 0


def _import(options: argparse.Namespace) -> int:
    imported = cligate_file.read(options.file, options.keys)
    if isinstance(imported, load.Fault):
        return _complain(imported)
    if options.output is None:
        sys.stdout.write(cligate_file.text(imported))
    elif code := _create(options.output, cligate_file.text(imported), "-o OTHER.yaml"):
        return code
    _complain(*(f"note: {note}" for note in cligate_file.notes(imported)))
    if options.output is not None:
        _say(f"Wrote {options.output}. Next: `homeport check {options.output}`.")
    return 0


def _check(options: argparse.Namespace) -> int:
    if options.diff:
        planned = migrated_file.plan(options.file)
        if isinstance(planned, tuple):
            return _complain(*planned)
        sys.stdout.write(planned.diff)
    loaded = load.read(options.file, os.environ)
    if isinstance(loaded, tuple):
        return _complain(*loaded)
    if faults := shares.faults(loaded, options.workers):
        return _complain(*faults)
    _say(f"{options.file}: good: {len(loaded.assistants)} assistants, {len(loaded.sources)} sources")
    for notice in load.notices(loaded):
        _say(f"note: {notice}")
    return 0


def _migrate(options: argparse.Namespace, steps: Sequence[migrations.Step] = migrations.STEPS) -> int:
    planned = migrated_file.plan(options.file, steps)
    if isinstance(planned, tuple):
        return _complain(*planned)
    _complain(*(f"note: {note}" for note in planned.notes))
    if not options.write:
        sys.stdout.write(planned.after)
    elif planned.due:
        try:
            _say(f"Wrote {options.file}; the original is {migrated_file.write(planned)}.")
        except migrated_file.CannotWrite as error:
            sys.stderr.write(f"homeport: {error}\n")
            return 1
    return 0


def _status(options: argparse.Namespace) -> int:
    from proxy.admin import shell

    told = _ask(options, "/api/status", None)
    return _tell(options, told, lambda document: shell.status(document, time.time()))


def _tell(options: argparse.Namespace, told: dict[str, Any] | int, words: Callable[[dict[str, Any]], str]) -> int:
    if isinstance(told, int):
        return told
    _say(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode() if options.json else words(told))
    return 0


def _explain(options: argparse.Namespace) -> int:
    from proxy.admin import shell

    what = quote(options.what, safe="")
    if not all("=" in each for each in options.assume):
        return _complain("--assume takes TIER=STATE, like --assume primary=open")
    assume = dict(each.split("=", 1) for each in options.assume)
    order: dict[str, object] = {"stream": options.stream, "needs": options.needs, "assume": assume}
    if options.endpoint is not None:
        order["endpoint"] = options.endpoint
    try:
        # What bears no assistant's name is a request's id: the caller may have made it, so it can look like anything.
        told = _asked(options, f"/api/assistants/{what}/explain", order)
    except shell.NoAnswer as refused:
        if refused.code != "assistant_not_found":
            return _unanswered(refused)
        told = _ask(options, f"/api/decisions/{what}", None)
    return _tell(options, told, shell.story)


def _decisions(options: argparse.Namespace) -> int:
    from proxy.admin import shell

    sought = {field: value for field in _SOUGHT if (value := getattr(options, field)) is not None}
    told = _ask(options, f"/api/decisions?{urlencode(sought)}", None)
    return _tell(options, told, shell.decisions)


def _act(options: argparse.Namespace) -> int:
    order = {"action": options.act, "source": options.source, "model": options.model}
    if options.assistant is not None:
        order["assistant"] = options.assistant
    if options.act == "isolate" and options.seconds is not None:
        order["for"] = options.seconds
    told = _ask(options, "/api/breakers", order)
    if isinstance(told, int):
        return told
    _say(f"{options.act}: {told['breakers']} breakers of {options.source}/{options.model}")
    return 0


def _test_binding(options: argparse.Namespace) -> int:
    from proxy.admin import shell

    order = {key: getattr(options, key) for key in ("source", "model", "assistant", "tier", "reach")}
    told = _ask(options, "/api/bindings/test", order)
    code = _tell(options, told, shell.binding)
    return code if isinstance(told, int) or told["ok"] else 1


def _keys_new(options: argparse.Namespace) -> int:
    from proxy.config import keys

    file = options.config or (_FILE if options.write else None)
    chance = secrets.token_bytes(keys.CHANCE)
    issued = keys.issue(options.id, options.assistant, file, os.environ, chance, write=options.write)
    if isinstance(issued, tuple):
        return _complain(*issued)
    _say(issued.key)
    _say(issued.line)
    sys.stderr.write(f"the key is shown this once; {issued.note}\n")
    return 0


def _keys_list(options: argparse.Namespace) -> int:
    from proxy.config import keys

    loaded = load.read(options.config or _FILE, os.environ)
    if isinstance(loaded, tuple):
        return _complain(*loaded)
    _say("\n".join(keys.known(loaded)))
    return 0


def _ask(options: argparse.Namespace, path: str, order: Mapping[str, object] | None) -> dict[str, Any] | int:
    """What the replica answers, or an exit code after the reason was told."""
    from proxy.admin import shell

    try:
        return _asked(options, path, order)
    except shell.NoAnswer as error:
        return _unanswered(error)


def _unanswered(error: Exception) -> int:
    sys.stderr.write(f"homeport: {error}\n")
    return 1


def _asked(options: argparse.Namespace, path: str, order: Mapping[str, object] | None) -> dict[str, Any] | int:
    from proxy.admin import shell

    base, token = options.admin or "http://127.0.0.1:8081", os.environ.get("HOMEPORT_ADMIN_TOKEN", "")
    if options.config is not None:
        loaded = load.read(options.config, os.environ)
        if isinstance(loaded, tuple):
            return _complain(*loaded)
        base = options.admin or f"http://{loaded.admin.listen}"
        token = loaded.admin.token.get_secret_value() if loaded.admin.token else token
    return shell.ask(base.rstrip("/"), path, token, order)


def _schema(_: argparse.Namespace) -> int:
    _say(orjson.dumps(starter.json_schema(), option=orjson.OPT_INDENT_2).decode())
    return 0
