"""Parameters of an EM estimator in scikit-learn's names, to be read and, as there, to be set: a mixture put together by hand."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from scipy.linalg import solve_triangular
from sklearn.utils.validation import check_is_fitted

from bayesgmm.covariance import Family
from bayesgmm.estimators._base import MixtureEstimator
from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.tables.numeric import default_names
from bayesgmm.typing import ArrayLike, FloatArray

__all__ = ["ByHand"]

_FOUND = ("_climb",)
_PARTS = ("weights", "means", "covariances")


class ByHand(MixtureEstimator):
    """Weights, means, covariances and precisions that can be set, one after the other; the last of them makes a mixture of them.

    What a fit found beside its parameters is forgotten when one of them is set: it was said of others.
    """

    n_components: Any  # a number, or "auto"
    _parts: dict[str, FloatArray]
    _fit_family: Family
    feature_names_in_: np.ndarray

    @property
    def weights_(self) -> FloatArray:
        """Weights (K,)."""
        return self._point("weights")

    @weights_.setter
    def weights_(self, value: ArrayLike) -> None:
        self._set("weights", "weights_", value)

    @property
    def means_(self) -> FloatArray:
        """Means (K, D), in the data's units."""
        return self._point("means")

    @means_.setter
    def means_(self, value: ArrayLike) -> None:
        self._set("means", "means_", value)

    @property
    def covariances_(self) -> FloatArray:
        """Covariances in scikit-learn's shape for the covariance type."""
        return self.family_.pack(self._point("covariances"))

    @covariances_.setter
    def covariances_(self, value: ArrayLike) -> None:
        self._set("covariances", "covariances_", value)

    @property
    def precisions_(self) -> FloatArray:
        """Inverses of the covariances, in scikit-learn's shape for the covariance type."""
        check_is_fitted(self, "params_")
        roots = self._inverse_factors()
        return self.family_.pack(roots @ np.swapaxes(roots, -1, -2))

    @precisions_.setter
    def precisions_(self, value: ArrayLike) -> None:
        self._set("covariances", "precisions_", value)

    @property
    def precisions_cholesky_(self) -> FloatArray:
        """Upper triangular square roots of the precisions, in scikit-learn's shape for the covariance type."""
        check_is_fitted(self, "params_")
        return self.family_.pack(self._inverse_factors())

    @precisions_cholesky_.setter
    def precisions_cholesky_(self, value: ArrayLike) -> None:
        self._set("covariances", "precisions_cholesky_", value)

    def _inverse_factors(self) -> FloatArray:
        """Return upper triangular roots (K, D, D) of the precisions; there are some where a covariance is singular to rounding, too."""
        identity = np.eye(self.params_.n_features)
        return np.stack([solve_triangular(L, identity, lower=True).T for L in self.params_.scale_tril])

    def _point(self, name: str) -> FloatArray:
        # What has been set can be read before the rest is.
        parts = vars(self).get("_parts", {})
        if not hasattr(self, "params_") and name in parts and name != "covariances":
            return cast("FloatArray", parts[name].copy())
        return super()._point(name)

    def _set(self, part: str, name: str, value: ArrayLike) -> None:
        """Take one of the parts, given under a name; if there are all of them, make the mixture."""
        if self.n_components == "auto":
            raise InvalidParameterError(f"{name} can be set where n_components is a number, not 'auto'")
        array = _numbers(name, value)
        parts = self._known_parts()
        if part == "weights" and array.shape != (self.n_components,):
            raise InvalidParameterError(f"{name} must have shape ({self.n_components},), one for each component, got {array.shape}")
        if part == "means" and (array.ndim != 2 or len(array) != self.n_components):
            raise InvalidParameterError(f"{name} must have shape ({self.n_components}, columns), got {array.shape}")
        if part == "covariances":
            array = self._matrices(name, array, parts.get("means"))
        parts[part] = array
        made = self._made(parts)
        self._forget()
        self._parts = parts
        if made is not None:
            self.params_, self._fit_family = made, self.family_
            if getattr(self, "n_features_in_", None) != made.n_features and hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
            self.n_features_in_ = made.n_features
            self.feature_names_ = [str(n) for n in getattr(self, "feature_names_in_", default_names(made.n_features))]

    def _known_parts(self) -> dict[str, FloatArray]:
        if hasattr(self, "params_") and self.params_.n_components == self.n_components:
            return {part: getattr(self.params_, part) for part in _PARTS}
        return dict(vars(self).get("_parts", {}))

    def _made(self, parts: dict[str, FloatArray]) -> MixtureParams | None:
        """Return the mixture of all parts; None while one is missing."""
        if len(parts) < len(_PARTS):
            return None
        D = parts["means"].shape[1]
        if parts["covariances"].shape[-1] != D:
            raise InvalidParameterError(
                f"means_ has {D} column(s) and the covariances have {parts['covariances'].shape[-1]}: set parameters of other columns on a "
                "new GaussianMixture, or give all at once to MixtureParams.from_parameters"
            )
        return MixtureParams.from_parameters(parts["weights"], parts["means"], parts["covariances"])

    def _matrices(self, name: str, array: FloatArray, means: FloatArray | None) -> FloatArray:
        """Return covariance matrices (K, D, D) of what was given in scikit-learn's shape, as they are or as precisions."""
        K = self.n_components
        if means is None and len(self.family_.packed_shape(K, 7)) == 1:
            raise InvalidParameterError(f"{name} of one number a component does not tell the number of columns: set means_ first")
        D = array.shape[-1] if means is None else means.shape[1]
        if array.shape != self.family_.packed_shape(K, D):
            raise InvalidParameterError(f"{name} must have shape {self.family_.packed_shape(K, D)}, got {array.shape}")
        matrices = np.array(self.family_.unpack(array, K, D))
        if name == "covariances_":
            return matrices
        if name == "precisions_cholesky_":
            matrices = matrices @ np.swapaxes(matrices, -1, -2)
        try:
            return np.linalg.inv(matrices)
        except np.linalg.LinAlgError:
            raise InvalidParameterError(f"{name} must have an inverse for every component") from None

    def _forget(self) -> None:
        """Forget what a fit found: it is not so of parameters set by hand."""
        kept = {*self.get_params(deep=False), "n_features_in_", "feature_names_in_"}
        for name in [n for n in vars(self) if n in _FOUND or (n.endswith("_") and not n.startswith("_") and n not in kept)]:
            delattr(self, name)


def _numbers(name: str, value: Any) -> FloatArray:
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise InvalidParameterError(f"{name} must be an array of numbers, got {value!r}") from None
    if not np.isfinite(array).all():
        raise InvalidParameterError(f"{name} must be finite numbers")
    return array
