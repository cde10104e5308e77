"""Finished requests are told of: counted, logged, and recorded, in their order."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.record.journal import Journal
from proxy.record.kept import kept
from proxy.record.kinds import Kinds
from proxy.record.lines import Look
from proxy.record.log import Log
from proxy.record.metrics import Metrics
from proxy.routing.decision import Decision


class Telling:
    """Of one replica."""

    def __init__(self, metrics: Metrics, log: Log, journal: Journal | None) -> None:
        """None where nothing is recorded."""
        self._kinds, self._log, self._journal = Kinds(metrics.counts), log, journal

    def __call__(self, ended: Sequence[Decision]) -> None:
        """Tell of these. A fault in telling one story takes no other away."""
        logged: list[tuple[Decision, Look]] = []
        recorded: list[bytes] = []
        for each in ended:
            try:
                counts = self._kinds.of(each)
                counts.add(each)
                logged.append((each, counts.look))
                if self._journal is not None:
                    recorded.append(kept(each))
            except Exception as error:  # noqa: BLE001  # whatever the bug, the others are told of and we learn of it
                self._log.decisions(logged)
                logged = []
                self._log.failed(each.request_id, error)
        self._log.decisions(logged)
        if self._journal is not None:
            self._journal.extend(recorded)
