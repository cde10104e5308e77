"""The guided tour of `homeport demo`: simulated upstreams, a proxy before them, traffic, an outage, and the way home.

1. Whatever it says about a request was read from the running proxy: its answers and its metrics.
2. It touches nothing but loopback and leaves nothing behind.
3. Every expectation that it states is checked; one that is not met is said where it happens, and in the result.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import textwrap
from collections.abc import Awaitable, Callable

import aiohttp

from proxy.demo import moods
from proxy.demo.controls import Controls
from proxy.demo.simulator import Simulator
from proxy.demo.visitor import Answer, Visitor, say

Start = Callable[[str], Awaitable[tuple[str, str]]]
"""Serve a configuration, given as YAML; the URLs of the API and of the operators' listener."""

_COOLDOWN = 3
"""Seconds; the product's own default is longer than a visitor wants to watch."""

_UPSTREAMS = {"north": "north-large", "south": "south-large", "local": "local-small"}
"""Each simulated upstream and the one model that it serves."""

_CONFIG = """\
version: 1
state_dir: null
listen: 127.0.0.1:{listen}
admin: {{listen: 127.0.0.1:{admin}, token: "{token}"}}
identity: {{default: support-bot}}
breaker: {{cooldown: {cooldown}s}}
sources:
  north: {{kind: openai-compatible, base_url: {north}}}
  south: {{kind: anthropic, base_url: {south}, api_key: unused}}
  local: {{kind: openai-compatible, base_url: {local}}}
assistants:
  support-bot:
    primary: {{source: north, model: north-large}}
    fallbacks:
      - {{source: south, model: south-large}}
      - {{source: local, model: local-small}}
  research-bot:
    primary: {{source: south, model: south-large}}
    fallbacks:
      - {{source: north, model: north-large}}
      - {{source: local, model: local-small}}
"""

_OPENING = """\
Homeport, shown with three simulated upstreams: no key is needed, and nothing leaves this machine.
south speaks Anthropic's API, the others OpenAI's; whoever calls sees OpenAI's alone.
Two assistants call it, each with a chain of its own. This is the part of the configuration that says so:

{chains}"""

_CLOSING = """
TRY IT YOURSELF
  curl -i {api}/v1/chat/completions -H 'content-type: application/json' \\
       -H 'x-assistant-id: research-bot' -d '{{"messages": [{{"role": "user", "content": "Hello"}}]}}'

  from openai import OpenAI
  client = OpenAI(base_url="{api}/v1", api_key="unused",
                  default_headers={{"X-Assistant-Id": "support-bot"}})
  hello = [{{"role": "user", "content": "Hello"}}]
  print(client.chat.completions.create(model="any", messages=hello).choices[0].message.content)

BREAK IT YOURSELF
  curl -X POST {controls}/north/503      north is overloaded
  curl -X POST {controls}/north/refuse   north is down
  curl -X POST {controls}/north/429      north limits the rate
  curl -X POST {controls}/south/hang     south accepts requests and never answers
  curl -X POST {controls}/south/cut      south breaks off in the midst of its answers
  curl -X POST {controls}/north/well     north is well again
  curl {controls}/                       who is how, and all the words

LOOK INSIDE
  page      {operators}/  (the operators' token of this demo: {token})
  API       {api}/v1
  metrics   {operators}/metrics
  health    {operators}/healthz and {operators}/readyz
"""


def configuration(listen: int, admin: int, bases: dict[str, str], token: str) -> str:
    """The demo's configuration, for these two ports (0 is any), base URLs by upstream, and operators' token."""
    return _CONFIG.format(listen=listen, admin=admin, cooldown=_COOLDOWN, token=token, **bases)


async def guide(start: Start, over: Callable[[], None], *, once: bool) -> bool:
    """Give the tour; True when all went as it should. Unless `once`, call `over` and stay up until interrupted."""
    async with contextlib.AsyncExitStack() as stack:
        upstreams = {name: Simulator(name, models=(model,)) for name, model in _UPSTREAMS.items()}
        bases = {}
        for name, upstream in upstreams.items():
            stack.push_async_callback(upstream.close)
            bases[name] = await upstream.start()
        controls = Controls(upstreams.values())
        stack.push_async_callback(controls.stop)
        token = secrets.token_urlsafe(12)
        config = configuration(_free(8080), _free(8081), bases, token)
        api, operators = await start(config)
        # A cut stream ends its connection, so each of a visitor's requests brings its own.
        alone = aiohttp.TCPConnector(force_close=True)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=alone))
        tour = Tour(Visitor(api, operators, session), upstreams, controls)
        say(_OPENING.format(chains=textwrap.indent(config.partition("assistants:\n")[2], "  ")))
        await tour.all_is_well()
        await tour.an_outage()
        await tour.the_way_home()
        await tour.a_cut_stream()
        went = "Everything went as expected." if tour.went_well else "NOT everything went as expected: see above."
        say(f"\n{went}")
        if not once:
            say(_CLOSING.format(api=api, operators=operators, controls=await controls.start(), token=token))
            say("Running until interrupted (Ctrl-C). From here on, the log of what you send.")
            over()
            await _interrupted()
        return tour.went_well


class Tour:
    """The four scenes, in order."""

    def __init__(self, visitor: Visitor, upstreams: dict[str, Simulator], controls: Controls) -> None:
        self._visitor, self._upstreams, self._controls = visitor, upstreams, controls
        self.went_well = True

    def _expect(self, met: bool, what: str) -> None:
        if not met:
            self.went_well = False
            say(f"   NOT AS EXPECTED: {what}")

    async def _ask(self, assistant: str, tier: str, *, stream: bool = False) -> Answer:
        answer = await self._visitor.ask(assistant, stream=stream)
        self._expect((answer.status, answer.tier) == (200, tier), f"{tier} should have served this")
        return answer

    async def all_is_well(self) -> None:
        """Each assistant at its own primary."""
        say("1. ALL IS WELL: every assistant is served by its own primary.\n")
        self._visitor.heading()
        await self._ask("support-bot", "primary")
        await self._ask("support-bot", "primary", stream=True)
        await self._ask("research-bot", "primary")

    async def an_outage(self) -> None:
        """A few requests meet it; then the breaker is open and nobody does."""
        say("\n2. THE UPSTREAM north GOES DOWN. The next requests meet it, fall back, and trip its breaker;")
        say("   after that nobody tries it any more. research-bot has its home elsewhere and notices nothing.\n")
        await self._controls.set(self._upstreams["north"], "refuse")
        self._visitor.heading()
        for _ in range(4):
            await self._ask("support-bot", "fallback-1")
        await self._ask("support-bot", "fallback-1", stream=True)
        await self._ask("research-bot", "primary")
        say()
        opened = await self._visitor.show("homeport_breaker_state", 'tier="primary"', 'state="open"', value="1.0")
        self._expect(opened, "the breaker of support-bot's primary should be open")

    async def the_way_home(self) -> None:
        """Back by itself, once the cooldown is over."""
        say(f"\n3. north IS BACK. Until its cooldown of {_COOLDOWN} s is over it is left alone; then one request asks")
        say("   whether it is well, and everyone comes home.\n")
        await self._controls.set(self._upstreams["north"], "well")
        self._visitor.heading()
        await self._ask("support-bot", "fallback-1")
        say(f"   … {_COOLDOWN} s later")
        await asyncio.sleep(_COOLDOWN)
        await self._ask("support-bot", "primary")
        await self._ask("support-bot", "primary", stream=True)
        say()
        asked = await self._visitor.show("homeport_probes_total", 'source="north"', 'result="good"')
        closed = await self._visitor.show("homeport_breaker_state", 'tier="primary"', 'state="closed"', value="1.0")
        self._expect(asked and closed, "one request should have found north well, and its breaker should be closed")

    async def a_cut_stream(self) -> None:
        """An answer that has begun is never continued by another model, and never looks whole."""
        say("\n4. A STREAM BREAKS OFF in the midst of an answer. No other model may finish what south began, so")
        say("   the caller is told: an error event ends the stream, in place of [DONE].\n")
        self._upstreams["south"].queue.append(moods.cut_stream(after=4))
        self._visitor.heading()
        answer = await self._ask("research-bot", "primary", stream=True)
        error = answer.error or {}
        say(f'\n   text    "{answer.text.strip()}"')
        say(f"   error   type={error.get('type')} code={error.get('code')}")
        say(f"   [DONE]  {'was sent' if answer.done else 'was not sent'}")
        self._expect(bool(answer.text and error) and not answer.done, "the cut should have been told")
        say("\n   One cut is no outage: south serves the next request.\n")
        await self._ask("research-bot", "primary", stream=True)


def _free(wanted: int) -> int:
    """The port if nobody uses it, otherwise 0: any other."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return 0
    return wanted


async def _interrupted() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
