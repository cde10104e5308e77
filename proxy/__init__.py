"""Homeport: a reverse proxy for the OpenAI API with explicit, explainable fallback chains per assistant."""

import os
import sys
from importlib import util
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader

__version__ = "0.1.0"


def compiled() -> bool:
    """Whether what every request goes through is compiled here; not where HOMEPORT_COMPILED is `off`."""
    spec = util.find_spec("proxy.routing.walk")
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")


def _interpreted(path: str) -> FileFinder:
    """Finds the sources beside what was compiled of them."""
    # With the end of its name: another package's may begin with ours.
    if not f"{path}{os.sep}".startswith(f"{__path__[0]}{os.sep}"):
        raise ImportError
    return FileFinder(path, (SourceFileLoader, SOURCE_SUFFIXES))


if os.environ.get("HOMEPORT_COMPILED") == "off":
    sys.path_hooks.insert(0, _interpreted)
