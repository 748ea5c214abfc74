"""Ellipses, average mixtures, and the plane in which data of many columns are looked at."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.stats import chi2
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from bayesgmm.exceptions import InvalidParameterError
from bayesgmm.params import MixtureParams
from bayesgmm.typing import FloatArray, IntArray

__all__ = ["Plane", "average", "ellipse", "plane_for", "plane_of_labels"]

_TURN = np.linspace(0, 2 * np.pi, 121)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)])


def ellipse(mean: FloatArray, scale_tril: FloatArray, prob: float) -> FloatArray:
    """Outline (..., 121, 2) of the ellipse that holds a share ``prob`` of a two-dimensional normal distribution."""
    outline = np.sqrt(chi2.ppf(prob, df=2)) * scale_tril @ _CIRCLE
    return mean[..., None, :] + np.swapaxes(outline, -1, -2)


def average(params: MixtureParams) -> MixtureParams:
    """Average weights, means and covariances of a batch; of a single mixture the mixture itself."""
    axes = tuple(range(len(params.batch_shape)))
    if not axes:
        return params
    return MixtureParams.from_covariances(params.weights.mean(axes), params.means.mean(axes), params.covariances.mean(axes))


@dataclass(frozen=True, eq=False)
class Plane:
    """A linear view of D columns in two dimensions: ``x @ matrix``, with names for the two axes."""

    matrix: FloatArray
    names: tuple[str, str]

    def points(self, X: FloatArray) -> FloatArray:
        """Coordinates of rows in the plane."""
        return X @ self.matrix

    def mixture(self, params: MixtureParams) -> MixtureParams:
        """The mixture of the coordinates, exactly: a projected Gaussian is Gaussian."""
        covariances = self.matrix.T @ params.covariances @ self.matrix
        covariances = (covariances + np.swapaxes(covariances, -1, -2)) / 2
        return MixtureParams.from_covariances(params.weights, params.means @ self.matrix, covariances)


def plane_for(params: MixtureParams, names: Sequence[str], features: Sequence[str] | None) -> Plane:
    """The plane of two named features, or of the two axes that tell the groups apart best.

    Discriminant axes: Fisher 1936, Annals of Eugenics 7:179-188, with the mixture's own between- and within-group
    covariances.
    """
    if features is None and len(names) > 2:
        return _discriminant(params, names)
    return plane_of_features(names, features)


def plane_of_features(names: Sequence[str], features: Sequence[str] | None = None) -> Plane:
    """The plane of two of the columns; ``features`` may be left out where there are no others."""
    chosen = list(names if features is None else features)
    missing = [name for name in chosen if name not in names]
    if len(chosen) != 2 or len(set(chosen)) != 2 or missing:
        raise InvalidParameterError(f"features must be two different columns of {', '.join(names)}; got {', '.join(chosen)}.")
    columns = [list(names).index(name) for name in chosen]
    return Plane(np.eye(len(names))[:, columns], (chosen[0], chosen[1]))


def _discriminant(params: MixtureParams, names: Sequence[str]) -> Plane:
    """Axes of the greatest variance between groups relative to that within; principal axes fill in for few groups."""
    mixture = average(params)
    within = np.einsum("k,kij->ij", mixture.weights, mixture.covariances)
    gaps = mixture.means - mixture.weights @ mixture.means
    between = np.einsum("k,ki,kj->ij", mixture.weights, gaps, gaps)
    vectors = eigh(between, within)[1][:, ::-1]
    n_axes = min(2, mixture.n_components - 1)
    return _named([vectors[:, i] for i in range(n_axes)], within + between, names)


def plane_of_labels(X: FloatArray, labels: IntArray, names: Sequence[str]) -> Plane:
    """The plane that tells labelled rows (N, D) apart best, by scikit-learn's discriminant analysis; principal axes fill in."""
    total = np.atleast_2d(np.cov(X.T, ddof=0))
    total = total + np.eye(len(total)) * (1e-9 * np.diag(total).mean() or 1.0)  # a column may be constant
    groups = np.unique(labels)
    spread = max(float(np.ptp(X[labels == group], axis=0).max()) for group in groups)
    if len(groups) == 1 or spread == 0:
        return _named([], total, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of columns that depend on each other, which harm no picture
        found = LinearDiscriminantAnalysis().fit(X, labels).scalings_
    return _named(list(found.T[:2]), total, names)


def _named(axes: list[FloatArray], total: FloatArray, names: Sequence[str]) -> Plane:
    """The plane of these discriminant axes, filled up with principal ones, with the columns that each goes with."""
    n_axes = len(axes)
    kinds = ["1st discriminant axis", "2nd discriminant axis"][:n_axes]
    while len(axes) < 2:
        axes = [*axes, _principal(total, axes)]
        kinds.append("principal axis" if n_axes == 0 else "principal axis of the rest")
    (x, along_x), (y, along_y) = (_pointed(axis, total, names) for axis in axes)
    return Plane(np.stack([x, y], axis=1), (f"{kinds[0]}: {along_x}", f"{kinds[1]}: {along_y}"))


def _principal(total: FloatArray, known: list[FloatArray]) -> FloatArray:
    """First principal axis of the standardised columns, after what the known axes explain is taken away."""
    scale = np.sqrt(np.diag(total))
    rest = total.copy()
    for axis in known:
        pull = rest @ axis
        rest = rest - np.outer(pull, pull) / (axis @ pull)
    return eigh(rest / np.outer(scale, scale))[1][:, -1] / scale


def _pointed(axis: FloatArray, total: FloatArray, names: Sequence[str]) -> tuple[FloatArray, str]:
    """The axis so that it grows with the column it goes with most, by correlation, and the names of this and the next."""
    correlations = total @ axis / np.sqrt(np.diag(total) * (axis @ total @ axis))
    most = np.argsort(-np.abs(correlations), kind="stable")[:2]
    sign = -1.0 if correlations[most[0]] < 0 else 1.0
    return sign * axis, ", ".join(f"{'−' if sign * correlations[i] < 0 else ''}{names[i]}" for i in most)
