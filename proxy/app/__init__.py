"""The composition root: builds everything from a configuration, starts and stops it in order. Knows every room."""

from proxy.app.listening import CannotStart as CannotStart
from proxy.app.running import demo as demo
from proxy.app.running import serve as serve
