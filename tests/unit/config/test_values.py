"""Single values as people write them: durations, sizes, rates, numbers, addresses, URLs, headers, names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proxy.config import addresses, headers, quantities, words
from proxy.config.addresses import Address
from proxy.config.fault import Wrong

_CALLERS_OWN = "a caller's credentials, cookies and forwarding headers are never passed on"


@pytest.mark.parametrize(
    ("read", "written", "value"),
    [
        (quantities.duration, "500ms", 0.5),
        (quantities.duration, "5s", 5.0),
        (quantities.duration, "1.5m", 90.0),
        (quantities.duration, "1h", 3600.0),
        (quantities.duration, "7", 7.0),
        (quantities.duration, 7, 7.0),
        (quantities.duration, 0.25, 0.25),
        (quantities.size, "32MiB", 33_554_432),
        (quantities.size, "256KiB", 262_144),
        (quantities.size, "10MB", 10_000_000),
        (quantities.size, "1GiB", 1_073_741_824),
        (quantities.size, 2048, 2048),
        (quantities.rate, "50%", 0.5),
        (quantities.rate, "12.5%", 0.125),
        (quantities.rate, 0.5, 0.5),
        (quantities.rate, 1, 1.0),
        (quantities.whole, "100", 100),
        (quantities.whole, 100, 100),
        (quantities.number, 4096, 4096),
        (quantities.number, "0.5", 0.5),
        (quantities.number, -1, -1),
        (addresses.address, "127.0.0.1:8080", Address("127.0.0.1", 8080)),
        (addresses.address, "[::1]:0", Address("::1", 0)),
        (addresses.address, "my-host.example.com:65535", Address("my-host.example.com", 65535)),
        (addresses.base_url, "https://api.example.com/v1//", "https://api.example.com/v1"),
        (addresses.base_url, "http://[::1]:8080", "http://[::1]:8080"),
        (addresses.proxy_url, "http://user:pass@proxy:3128", "http://user:pass@proxy:3128"),
        (headers.header_name, "X-Team", "X-Team"),
        (headers.forwarded_name, "X-Trace", "X-Trace"),
        (headers.secret_value, "a\tb c", "a\tb c"),
        (words.assistant_id, "a" * 63, "a" * 63),
        (words.name, "Open.AI_2", "Open.AI_2"),
        (words.model, "vendor/model:latest", "vendor/model:latest"),
        (words.sha256, "AB" * 32, "ab" * 32),
        (words.version, "1", 1),
    ],
)
def test_values_are_read(read: Callable[[object], object], written: object, value: object) -> None:
    """Each form that the documentation shows, and its plain number."""
    assert read(written) == value
    assert type(read(written)) is type(value)


@pytest.mark.parametrize(
    ("read", "written", "problem"),
    [
        (quantities.duration, "5 s", "expected a duration, found other text"),
        (quantities.duration, "1m30s", "expected a duration, found other text"),
        (quantities.duration, "-5s", "expected a duration, found other text"),
        (quantities.duration, -5, "expected a duration, found another number"),
        (quantities.duration, True, "expected a duration, found true or false"),
        (quantities.duration, [], "expected a duration, found a list"),
        (quantities.duration, float("nan"), "expected a duration, found another number"),
        (quantities.size, "32Mib", "expected a size, found other text"),
        (quantities.size, 1.5, "expected a size, found another number"),
        (quantities.size, {}, "expected a size, found a mapping"),
        (quantities.rate, 50, "a rate must be over 0% and at most 100%"),
        (quantities.rate, "0%", "a rate must be over 0% and at most 100%"),
        (quantities.rate, "half", "expected a rate, found other text"),
        (quantities.whole, "012", "expected a whole number, found other text"),
        (quantities.whole, True, "expected a whole number, found true or false"),
        (quantities.whole, None, "expected a whole number, found nothing"),
        (quantities.whole, "9" * 30, "expected a whole number, found other text"),
        (quantities.whole, "١", "expected a whole number, found other text"),
        (quantities.number, "1,5", "expected a number, found other text"),
        (addresses.address, 8080, "expected host:port"),
        (addresses.address, "localhost", "expected host:port"),
        (addresses.address, ":8080", "an address needs a host"),
        (addresses.address, "h:65536", "a port is a number from 0 to 65535"),
        (addresses.address, "h:", "a port is a number from 0 to 65535"),
        (addresses.address, "::1:80", "an IPv6 address stands in brackets"),
        (addresses.address, "[nope]:80", "expected an IPv6 address in the brackets"),
        (addresses.address, "a b:80", "expected a host name or an address before the port"),
        (addresses.address, "http://h:80", "expected host:port"),
        (addresses.base_url, "api.example.com/v1", "expected a URL of http:// or https:// with a host"),
        (addresses.base_url, "ftp://h", "expected a URL of http:// or https:// with a host"),
        (addresses.base_url, "http://", "expected a URL of http:// or https:// with a host"),
        (addresses.base_url, "http://[::1", "expected a URL, found other text"),
        (addresses.base_url, "http://h:port", "expected a URL, found other text"),
        (addresses.base_url, "http://h/a b", "a URL is ASCII without spaces"),
        (addresses.base_url, "http://h\n", "a URL is ASCII without spaces"),
        (addresses.base_url, "http://u:p@h", "a base URL holds no credentials"),
        (addresses.base_url, "http://@h", "a base URL holds no credentials"),
        (addresses.base_url, "http://h/v1?a=b", "a base URL has no query and no fragment"),
        (
            addresses.base_url,
            "http://169.254.169.254/latest",
            "a link-local or metadata address, which nothing is ever sent to",
        ),
        (addresses.base_url, "http://[fe80::1]/v1", "a link-local or metadata address, which nothing is ever sent to"),
        (
            addresses.base_url,
            "http://[fd00:ec2::254]/v1",
            "a link-local or metadata address, which nothing is ever sent to",
        ),
        (
            addresses.base_url,
            "http://[::ffff:169.254.169.254]/v1",
            "a link-local or metadata address, which nothing is ever sent to",
        ),
        (
            addresses.proxy_url,
            "http://u:p@100.100.100.200:3128",
            "a link-local or metadata address, which nothing is ever sent to",
        ),
        (words.flag, "yes", "expected true or false"),
        (words.flag, 1, "expected true or false"),
        (addresses.base_url, "http://h/v1#", "a base URL has no query and no fragment"),
        (headers.header_name, "X Y", "expected the name of an HTTP header"),
        (headers.header_name, "X:\r\nY", "expected the name of an HTTP header"),
        (headers.header_name, "", "expected the name of an HTTP header"),
        (headers.header_name, "Connection", "this header is the connection's or Homeport's own"),
        (headers.header_name, "X-Homeport-Tier", "this header is the connection's or Homeport's own"),
        (
            headers.forwarded_name,
            "Authorization",
            "a caller's credentials, cookies and forwarding headers are never passed on",
        ),
        (
            headers.forwarded_name,
            "x-forwarded-for",
            "a caller's credentials, cookies and forwarding headers are never passed on",
        ),
        (headers.secret_value, "a\r\nb: c", "it holds a line break, a control character, or white space around it"),
        (headers.secret_value, " a", "it holds a line break, a control character, or white space around it"),
        (headers.secret_value, "", "it is empty"),
        (headers.secret_value, 5, "expected text"),
        (words.assistant_id, "Upper", "not an assistant id"),
        (words.assistant_id, "a" * 64, "not an assistant id"),
        (words.assistant_id, "a\n", "not an assistant id"),
        (words.name, "-a", "not a name"),
        (words.model, "", "not a model name"),
        (words.model, "a\nb", "not a model name"),
        (words.request_field, "stream", "`stream` cannot be changed by params"),
        (words.request_field, "model", "`model` cannot be changed by params"),
        (words.sha256, "ab", "expected a SHA-256 in 64 hex digits"),
        (words.version, True, "expected the version of the file's form, a whole number"),
        (words.version, 1.0, "expected the version of the file's form, a whole number"),
        (words.version, 0, "there is no such version; this Homeport reads 1"),
        (words.kind, "bedrock", "expected a kind of source"),
        (words.api_version, "2024 10", "expected a version of an API"),
        (words.api_version, "", "expected a version of an API"),
        (words.store, "redis+sentinel://:pw@h/x", "`redis+sentinel` is not served by this version"),
    ],
)
def test_other_values_are_refused(read: Callable[[object], object], written: object, problem: str) -> None:
    """A refusal says what was expected, and always what to do."""
    with pytest.raises(Wrong) as refused:
        read(written)
    assert refused.value.problem == problem
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    """Only an address that nobody else can reach counts as loopback."""
    assert Address(host, 80).loopback is loopback


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:80"])
def test_an_address_is_shown_as_it_is_written(text: str) -> None:
    """Reading and showing an address agree."""
    assert str(addresses.address(text)) == text
