"""What an audit compared, and where two accounts of the same fact differ."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement."""

    what: str
    """The kind of fact: attempt, class, words, caller, cause, …"""
    where: str
    """The request's marker, or the replica."""
    text: str


@dataclass(slots=True)
class Findings:
    """Facts compared so far, disagreements, and the figures of the run."""

    found: list[Finding] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    """Facts, by kind."""
    figures: Counter[str] = field(default_factory=Counter)

    def check(self, what: str, holds: bool, where: str, text: str) -> bool:
        """One fact was compared."""
        self.compared[what] += 1
        if not holds:
            self.found.append(Finding(what, where, text))
        return holds

    @property
    def agreement(self) -> float:
        """Per cent of the facts, never rounded up: a single disagreement is not 100.00."""
        facts = self.compared.total()
        return math.floor(10_000 * (facts - len(self.found)) / facts) / 100 if facts else 0.0

    def kinds(self) -> set[str]:
        """The kinds of facts in which there is disagreement."""
        return {finding.what for finding in self.found}

    def report(self) -> str:
        """The figures, and the first disagreements."""
        figures = "  ".join(f"{name} {count}" for name, count in self.figures.items())
        facts = "  ".join(f"{name} {count}" for name, count in sorted(self.compared.items()))
        lines = [figures, f"facts compared {self.compared.total()}: {facts}", f"agreement {self.agreement:.2f} %"]
        by_kind = Counter(finding.what for finding in self.found)
        lines += [f"disagreements: {dict(by_kind)}"] if by_kind else []
        lines += [f"  {finding.what} {finding.where}: {finding.text}" for finding in self.found[:40]]
        return "\n".join(lines)
