"""A question asked of a fit, with its answer."""

from dataclasses import dataclass

__all__ = ["Check"]


@dataclass(frozen=True)
class Check:
    """One question asked of a fit, with its answer.

    Attributes
    ----------
    name : str
        Short name for programs, such as ``"divergences"``.
    value : float or None
        What was measured; None or NaN where it could not be.
    threshold : float or None
        What ``value`` was held to; None for a note that is held to nothing.
    passed : bool
        Whether all is well.
    sentence : str
        The answer in plain words.

    Examples
    --------
    >>> check = Check("divergences", 0.0, 0.0, True, "No divergences.")
    >>> print(check)
    No divergences.
    """

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    sentence: str

    def __str__(self) -> str:
        return self.sentence
