"""What tells one fit from another, so that none goes on from another's checkpoint."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Any

import numpy as np

from bayesgmm.em.checkpoint import VALUES, Checkpoint
from bayesgmm.estimators._starts import EMSettings
from bayesgmm.files import check_writable
from bayesgmm.rows import Rows

__all__ = ["checkpoint_of"]

_SETTINGS = ("n_components", "covariance_type", "tol", "reg_covar", "max_iter", "n_init", "equal_weights", "noise")


def checkpoint_of(
    estimator: EMSettings,
    rows: Rows,
    seeds: np.random.SeedSequence,
    path: str | os.PathLike[str] | None,
    resume: str | os.PathLike[str] | None,
) -> tuple[Checkpoint | None, np.random.SeedSequence]:
    """Return where a fit is kept, with what is in the checkpoint that it goes on from, and the fit's root of randomness.

    Raises
    ------
    InvalidParameterError
        If ``resume`` is the checkpoint of another fit, or there is a file at ``path`` that is no checkpoint.
    """
    if path is None and resume is None:
        return None, seeds
    if path is not None:
        check_writable(path)
        Checkpoint.check_may_replace(path)
    about = _about(estimator, rows)
    if resume is None:
        journal = Checkpoint(path, about, seeds.entropy)
    else:
        journal = Checkpoint.read(resume)
        journal.check_is_of(about, resume)
        journal.path = path
    journal.write()  # what was stopped before the first iteration can be gone on with, too
    return journal, np.random.SeedSequence(journal.entropy)


def _about(estimator: EMSettings, rows: Rows) -> dict[str, Any]:
    """Return what a fit is of, JSON-ready; the order and the chunks of the rows are left out."""
    about: dict[str, Any] = {name: _plain(getattr(estimator, name)) for name in _SETTINGS}
    about["init_params"] = estimator.init_params if isinstance(estimator.init_params, str) else _digest(estimator.init_params)
    about["starting values"] = _digest([estimator.weights_init, estimator.means_init, estimator.precisions_init])
    about["priors"] = repr(estimator.priors)
    about["columns"] = rows.feature_names
    about["total weight of the rows"] = rows.total
    about["smallest values"], about["largest values"] = rows.summary.lowest.tolist(), rows.summary.highest.tolist()
    about["what is known of the rows"] = _known(rows)
    about["fixed"] = repr(estimator.fixed)
    about[VALUES] = f"{rows.fingerprint:016x}"
    return about


def _known(rows: Rows) -> str:
    """Return a short name for what is known of rows beside their values; "" for nothing."""
    known = rows.known
    if known is None:
        return ""
    return _digest([known.log_weights, known.error_of, known.error_tril, known.sets, known.share_of])


def _plain(value: Any) -> Any:
    """Return a setting as JSON can hold it: of NumPy's numbers Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _digest(value: Any) -> str:
    """Return a short name for starting values."""
    params = getattr(value, "params_", value)
    parts = [getattr(params, name) for name in ("weights", "means", "scale_tril")] if hasattr(params, "scale_tril") else params
    flat = [np.asarray(part, dtype=float).tobytes() for part in parts if part is not None]
    return sha256(b"".join(flat)).hexdigest()[:16]
