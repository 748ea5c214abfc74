"""What a fit says to people who gave it labels: classes of new rows, and rows whose label the others contradict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.rows import Classes, MemoryRows, Rows
from bayesgmm.typing import ArrayLike, FloatArray

if TYPE_CHECKING:
    from bayesgmm.estimators._prediction import Predictor

__all__ = ["Labelled"]


class Labelled:
    """Classes that labels name (``known=`` of ``fit``), beside the components that make them up."""

    rows_: Rows
    _classes: Classes | None

    if TYPE_CHECKING:

        @property
        def predictor_(self) -> Predictor: ...

        @property
        def n_components_(self) -> int: ...

        def _rows(
            self, X: ArrayLike | None, *, errors: ArrayLike | None = None, together: ArrayLike | None = None
        ) -> MemoryRows: ...

    @property
    def component_names_(self) -> list[str]:
        """What the components are called: as the classes that labels name, otherwise by their numbers."""
        check_is_fitted(self, "params_")
        return [str(k) for k in range(self.n_components_)] if self._classes is None else self._classes.component_names

    @property
    def classes_(self) -> np.ndarray:
        """Names of the classes (C,), of which labels were given to ``fit``; without labels there is no such attribute."""
        if self._classes is None:
            raise AttributeError("classes_ are those of the labels that known= gives to fit, and there were none")
        return np.array(self._classes.names)

    def predict_class(self, X: ArrayLike, *, errors: ArrayLike | None = None, together: ArrayLike | None = None) -> np.ndarray:
        """Return the most probable class of each row: that whose components are the most probable together.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.
        errors : array-like, optional
            The rows' errors of measurement, as in ``fit``.
        together : array-like of shape (N,), optional
            Which rows are of one component, as in ``fit``.

        Returns
        -------
        array of shape (N,)
            Names of classes; the number of a component, as text, where one without class is more probable than any class.

        Raises
        ------
        InvalidParameterError
            If the fit was given no labels.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> known = ["short", None, None, "long", None, None]
        >>> em = bg.GaussianMixture(2, random_state=1).fit([[1.0], [1.2], [0.9], [5.1], [4.9], [5.0]], known=known)
        >>> em.predict_class([[1.1], [5.2]]).tolist()
        ['short', 'long']
        """
        table = self.predict_class_proba(X, errors=errors, together=together)
        return table.columns.to_numpy()[table.to_numpy().argmax(1)]

    def predict_class_proba(
        self, X: ArrayLike, *, errors: ArrayLike | None = None, together: ArrayLike | None = None
    ) -> pd.DataFrame:
        """Return the probability of each class for each row: the sum of its components' responsibilities.

        Parameters
        ----------
        X : array-like of shape (N, D)
            NaN stands for a missing value.
        errors : array-like, optional
            The rows' errors of measurement, as in ``fit``.
        together : array-like of shape (N,), optional
            Which rows are of one component, as in ``fit``.

        Returns
        -------
        pandas.DataFrame of shape (N, C)
            A column for each class, and after them one for each component without a class.

        Raises
        ------
        InvalidParameterError
            If the fit was given no labels.
        """
        classes, rows = self._named_classes(), self._rows(X, errors=errors, together=together)
        return pd.DataFrame(classes.summed(self.predictor_.responsibilities(rows.chunk)), index=rows.index, columns=classes.columns)

    def contradictions(self, least_odds: float = 1.0) -> pd.DataFrame:
        """Return the rows whose label their values contradict, the most contradicted first.

        Parameters
        ----------
        least_odds : float
            Of rows whose values make another component, or class, at least so many times as probable as those that ``known=`` allows.

        Returns
        -------
        pandas.DataFrame
            By row: ``known`` and ``likelier``, the class (or the component, by its name) that is known and that the values speak for, and
            ``odds``, how many times as probable the second is. The fit has seen the labels, so that a wrong one has already drawn its
            component towards its row: odds are rather too small than too large.

        Raises
        ------
        InvalidParameterError
            If the fit was given no labels.

        Examples
        --------
        >>> import bayesgmm as bg
        >>> X = [[1.0], [1.2], [0.9], [1.1], [5.1], [4.9], [5.0], [5.2], [5.3]]
        >>> em = bg.GaussianMixture(2, random_state=1).fit(X, known=["low"] * 4 + ["high"] * 4 + ["low"])
        >>> em.contradictions().known.to_dict()
        {8: 'low'}
        """
        if least_odds <= 0:
            raise InvalidParameterError(f"least_odds must be positive, got {least_odds}")
        rows = self.rows_.in_memory()
        if rows.known is None or rows.known.log_weights is None:
            raise InvalidParameterError(
                "contradictions are between values and labels, and the fit was given none: give known= to fit"
            )
        allowed = rows.known.log_weights > -np.inf
        said = np.flatnonzero(~allowed.all(1))
        unlabelled = rows.knowing(replace(rows.known, log_weights=None)).chunk
        from_values: FloatArray = self.predictor_.responsibilities(unlabelled)[said]
        classes = (
            self._classes if self._classes is not None else Classes(tuple(range(allowed.shape[1])), np.arange(allowed.shape[1]))
        )
        may_be = classes.summed(allowed[said].astype(float)) > 0
        p = classes.summed(from_values)
        names = np.array([str(name) for name in classes.columns], dtype=object)
        other = np.where(may_be, 0.0, p)
        with np.errstate(divide="ignore"):
            odds = other.max(1) / np.where(may_be, p, 0.0).sum(1)
        found = pd.DataFrame(
            {
                "known": [" or ".join(names[row]) for row in may_be],
                "likelier": names[other.argmax(1)],
                "odds": odds,
            },
            index=rows.index[said],
        )
        return found[found.odds >= least_odds].sort_values("odds", ascending=False, kind="stable")

    def _named_classes(self) -> Classes:
        check_is_fitted(self, "params_")
        if self._classes is None:
            raise InvalidParameterError(
                "there are no classes without labels: give known= to fit, one label for each row that has one"
            )
        return self._classes
