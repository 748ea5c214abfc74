"""Groups by the names that the user's labels gave them, wherever the report would say their number."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

from bayesgmm.comparison import Comparison
from bayesgmm.diagnostics import Check
from bayesgmm.report.em_alone import Findings
from bayesgmm.text import shortened

__all__ = ["GroupNames"]

_LONGEST = 16
"""Letters of a name in a figure."""
_GROUPS = re.compile(r"\b(?:([Gg]roups) (\d+(?:(?:, | and )\d+)*)|([Gg]roup) (\d+))\b(?!\.\d)")
"""One number after "group", for others may follow that are none; several after "groups"."""


@dataclass(frozen=True)
class GroupNames:
    """What the groups are called.

    Parameters
    ----------
    names : sequence of str
        Of each component, its number where it has no other.
    """

    names: Sequence[str]

    @property
    def are_numbers(self) -> bool:
        """Whether groups have no names but their numbers."""
        return all(name == str(k) for k, name in enumerate(self.names))

    def __call__(self, component: Any) -> str:
        """Return what a group is called: "group 0", or by its name.

        Examples
        --------
        >>> GroupNames(("0", "Adelie"))(0), GroupNames(("0", "Adelie"))(1)
        ('group 0', 'Adelie')
        """
        name = self.names[int(component)]
        return f"group {name}" if name.isdigit() else name

    def short(self, component: Any) -> str:
        """Return a component's number, or its name, for the column of a table; what is no component stays as it is."""
        return self._name(str(component)) if str(component).isdigit() else str(component)

    def in_text(self, text: str) -> str:
        """Return a sentence with the groups' names in the place of their numbers.

        Examples
        --------
        >>> GroupNames(("Gentoo", "Adelie")).in_text("Groups 0 and 1 may be one.")
        'Groups Gentoo and Adelie may be one.'
        """
        if self.are_numbers:
            return text
        return _GROUPS.sub(self._named, text)

    def _named(self, found: re.Match[str]) -> str:
        word, numbers = found[1] or found[3], found[2] or found[4]
        return f"{word} {re.sub(r'\d+', lambda k: self._name(k[0]), numbers)}"

    def _name(self, number: str) -> str:
        return self.names[int(number)] if int(number) < len(self.names) else number

    def in_checks(self, checks: Sequence[Check]) -> tuple[Check, ...]:
        """Return checks whose sentences have the groups' names."""
        return tuple(replace(check, sentence=self.in_text(check.sentence)) for check in checks)

    def in_findings(self, found: Findings) -> Findings:
        """Return what was found with the groups' names in all its sentences."""
        if self.are_numbers:
            return found
        named = replace(found, verdicts=self.in_checks(found.verdicts))
        return replace(named, checks=self.in_checks(named.checks)) if isinstance(named, Comparison) else named

    def on_figure(self, figure: Figure) -> None:
        """Put the groups' names on a figure, in the place of "group" and their numbers: a legend has little room."""
        if self.are_numbers:
            return
        texts: list[Text] = figure.findobj(Text)
        for text in texts:
            if _GROUPS.search(text.get_text()):
                text.set_text(_GROUPS.sub(self._shortened, text.get_text()))

    def _shortened(self, found: re.Match[str]) -> str:
        return re.sub(
            r"\d+", lambda k: shortened(self(k[0]) if int(k[0]) < len(self.names) else k[0], _LONGEST), found[2] or found[4]
        )
