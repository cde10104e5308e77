"""A configuration from a file, from text, or from the environment alone: a checked Config, or all its faults.

1. A Config that leaves here passed every check; a change to one goes through the checks again.
2. All faults of one run come together, in the order of their lines. What is at fault is left out and the rest is
   checked on, so that one mistake hides no other; a conclusion drawn from what was left out is dropped.
3. A secret is in no fault: not the one that was substituted, and not the one that was written out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from proxy.beside import let_go
from proxy.config import checks, explain, migrations, oauth, older, yaml_map
from proxy.config.addresses import Address, address
from proxy.config.fault import Fault as Fault
from proxy.config.fault import Finding, Loc, Wrong, dotted, in_order
from proxy.config.interpolate import Interpolation
from proxy.config.schema import Config

_START = "`homeport init` writes one to start from"
_LONG = 20
"""Characters of a token, made by chance, that nobody guesses."""


def read(path: Path, env: Mapping[str, str]) -> Config | tuple[Fault, ...]:
    """Load a file. Reads it, and whatever its `${file:…}`, `ca_file` and `token_file` name."""
    found = read_text(path)
    return (found,) if isinstance(found, Fault) else parse(found, str(path), env, path.parent)


def read_text(path: Path, remedy: str = _START) -> str | Fault:
    """A file's text. Reads it; `remedy` is for a file that cannot be read."""
    name = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        return Fault(name, 0, 0, "", f"cannot be read: {error.strerror}", remedy)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        return Fault(name, line, column, "", "not UTF-8", "save the file as UTF-8")


def parse(
    text: str,
    name: str,
    env: Mapping[str, str],
    base_dir: Path,
    steps: Sequence[migrations.Step] = migrations.STEPS,
) -> Config | tuple[Fault, ...]:
    """Load a text; `name` is what faults call it, `base_dir` is where relative paths start.

    A text of an older version is migrated in memory by `steps`; `Config.migrated` then tells what they did.
    """
    interpolation = Interpolation(env, base_dir)
    root, faults = yaml_map.compose(text, name, interpolation)
    if root is None or not isinstance(root.content, dict):
        if root is not None and root.content is not None:
            faults.append(Fault(name, root.line, root.column, "", "expected a mapping of keys", _START))
        return in_order(faults or [Fault(name, 1, 1, "", "the file is empty", _START)])
    brought = older.bring(root, name, steps)
    if isinstance(brought, Fault):
        return (brought,)
    loading = _Loading(brought.root, name, base_dir)
    config = loading.config()
    _forget(each.content for each in brought.root.content.values())
    mask = interpolation.mask
    told = [*brought.faults, *loading.faults]
    found = [replace(each, problem=mask(each.problem), remedy=mask(each.remedy)) for each in told]
    if config is None or faults or found:
        return in_order([*faults, *found])
    return config.came_by(brought.changes) if brought.changes else config


def _forget(sections: Iterable[Any]) -> None:
    let_go(*(each for each in sections if isinstance(each, dict)))


class _Loading:
    """One run over a tree: validate, leave out what is at fault, validate again, check what is left."""

    def __init__(self, root: yaml_map.Node, name: str, base_dir: Path) -> None:
        self.faults: list[Fault] = []
        self._root, self._name, self._base_dir = root, name, base_dir
        self._without: set[Loc] = set()
        self._suspect: set[Loc] = set(yaml_map.broken(root))
        """Where something is at fault, or was probably meant to stand."""

    def config(self) -> Config | None:
        """What is valid of the configuration; None if nothing is."""
        first = True
        while True:
            data = yaml_map.plain(self._root, self._without)
            if not first:
                data.setdefault("version", 1)
            try:
                config = Config.model_validate(data, context=self._base_dir)
            except ValidationError as error:
                gone = {loc for each in _unknown_first(error) if (loc := self._note(each, report=first))}
                if gone <= self._without and not first:
                    return None
                self._without |= gone
                first = False
                continue
            _forget(data.values())
            self._conclude([*checks.find(config), *checks.certificates(config), *oauth.read_logins(config.accounts)])
            return config

    def _note(self, error: Any, *, report: bool) -> Loc:
        """Tell of an error; what to leave out because of it."""
        loc = yaml_map.locate(self._root, error["loc"], self._without)
        if error["type"] == "missing" and loc in self._suspect:
            report = False  # it is there but broken, or under a mistaken key, and that is told already
        self._suspect.add(loc)
        if report:
            problem, remedy, meant = explain.explain(error, loc)
            if meant is not None and not self._stands((*loc[:-1], meant)):
                self._suspect.add((*loc[:-1], meant))
            of_key = error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",)
            line, column = yaml_map.position(self._root, loc, of_key=of_key)
            self.faults.append(Fault(self._name, line, column, dotted(loc), problem, remedy))
        while loc and (not self._stands(loc) or loc in self._without):
            loc = loc[:-1]
        return loc

    def _stands(self, loc: Loc) -> bool:
        node: yaml_map.Node | None = self._root
        for segment in loc:
            node = yaml_map.child(node, segment) if node is not None else None
        return node is not None

    def _conclude(self, findings: list[Finding]) -> None:
        around = {suspect[:depth] for suspect in self._suspect for depth in range(len(suspect) + 1)}
        for finding in findings:
            loc = yaml_map.locate(self._root, finding.loc, self._without)
            grounds = [loc, *(yaml_map.locate(self._root, each, self._without) for each in finding.rests_on)]
            if any(ground in around or self._within_suspect(ground) for ground in grounds):
                continue
            line, column = yaml_map.position(self._root, loc)
            self.faults.append(Fault(self._name, line, column, dotted(loc), finding.problem, finding.remedy))

    def _within_suspect(self, loc: Loc) -> bool:
        return any(loc[:depth] in self._suspect for depth in range(len(loc) + 1))


def _unknown_first(error: ValidationError) -> list[Any]:
    """A mistaken key explains the missing one."""
    return sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")


def from_environment(env: Mapping[str, str]) -> Config | tuple[Fault, ...]:
    """Without a file: one assistant, `default`, that passes every model through to OpenAI's key of the environment."""
    key = env.get("OPENAI_API_KEY")
    if not key:
        remedy = "set OPENAI_API_KEY, or write a configuration: `homeport init`"
        return (Fault("environment", 0, 0, "OPENAI_API_KEY", "not set, and there is no configuration file", remedy),)
    anything = {"source": "openai", "model": "*"}
    source = {"kind": "openai", "api_key": key, "base_url": env.get("OPENAI_BASE_URL") or None}
    chains = {"embeddings": {"primary": anything}}
    data = {
        "version": 1,
        "state_dir": None,
        "identity": {"default": "default"},
        "sources": {"openai": source},
        "assistants": {"default": {"primary": anything, "chains": chains}},
    }
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        return tuple(
            Fault(
                "environment", 0, 0, f"OPENAI_{str(each['loc'][-1]).upper()}", *explain.explain(each, each["loc"])[:2]
            )
            for each in error.errors(include_url=False)
        )


def override(config: Config, listen: str | None, admin: str | None) -> Config | tuple[Fault, ...]:
    """The configuration with the command line's addresses in place of its own."""
    faults: list[Fault] = []
    if listen is None and admin is None:
        return config

    def given(option: str, value: str | None, otherwise: Address) -> Address:
        try:
            return otherwise if value is None else address(value)
        except Wrong as wrong:
            faults.append(Fault(option, 0, 0, "", wrong.problem, wrong.remedy))
            return otherwise

    operators = config.admin.model_copy(update={"listen": given("--admin", admin, config.admin.listen)})
    changed = config.model_copy(update={"listen": given("--listen", listen, config.listen), "admin": operators})
    for finding in checks.find(changed):
        option = "--admin" if finding.loc[0] == "admin" and admin is not None else "--listen"
        faults.append(Fault(option, 0, 0, "", finding.problem, finding.remedy))
    return tuple(faults) or changed


def notices(config: Config) -> tuple[str, ...]:
    """What an operator should know about a configuration that can be served."""
    said = [f"{change}; `homeport migrate --write` writes it" for change in config.migrated]
    token = config.admin.token
    if token is not None and not config.admin.listen.loopback and len(token.get_secret_value()) < _LONG:
        said.append(f"admin.token has fewer than {_LONG} characters, and the network can guess at it")
    if config.shared_store is None:
        for name, account in config.accounts.items():
            if account.refresh_token is not None:
                said.append(
                    f"the account of source {name} is kept in memory alone: if its refresh token is good for one use, "
                    "a restart needs a new one; a token_file would keep it"
                )
    if not config.assistants:
        said.append("no assistants are configured: every request will be refused")
    for name, assistant in config.assistants.items():
        if assistant.primary is None and not assistant.fallbacks:
            said.append(f"assistant {name} is bound to nothing: its requests will be refused")
    return tuple(said)
