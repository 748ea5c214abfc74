"""Importing bayesgmm, fitting by EM and asking for help stay light: each is watched in a fresh process."""

import json
import subprocess
import sys

import pytest

HEAVY = {"arviz", "matplotlib", "nutpie", "pymc", "pytensor"}


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running some code."""
    report = "import json, sys; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    run = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_import_loads_nothing_heavy() -> None:
    loaded = loaded_after("import bayesgmm")
    assert "bayesgmm" in loaded
    assert not loaded & (HEAVY | {"numba", "numpy", "pandas", "scipy", "sklearn", "xarray"})


def test_an_em_fit_loads_neither_pymc_nor_matplotlib() -> None:
    loaded = loaded_after(
        "import bayesgmm as bg\n"
        "X = bg.datasets.load_faithful()\n"
        "em = bg.GaussianMixture(2, random_state=1).fit(X)\n"
        "em.predict(X), em.responsibilities(X), em.bic(X), em.sample(3)"
    )
    assert "numba" in loaded
    assert not loaded & (HEAVY | {"arviz_stats", "jax"})


def test_a_posterior_fit_loads_neither_pymc_nor_arviz_and_leaves_both_usable() -> None:
    code = (
        "import bayesgmm as bg\n"
        "X = bg.datasets.load_faithful()\n"
        "bg.BayesianGaussianMixture(2, draws=20, tune=50, chains=2, random_state=1, progressbar=False).fit(X)\n"
    )
    loaded = loaded_after(code)
    assert "nutpie" in loaded
    assert not loaded & {"arviz", "arviz_plots", "matplotlib", "pymc", "pytensor"}
    assert "arviz_stats" in loaded_after(f"{code}\nimport arviz, sys\nassert sys.modules['nutpie.sample'].arviz.ess is arviz.ess")


def test_what_is_imported_later_comes_when_it_is_used() -> None:
    code = (
        "import sys\n"
        "from bayesgmm.bayes.nuts import imported_later\n"
        "with imported_later('colorsys'), imported_later('json'):\n"
        "    import colorsys, json\n"
        "assert 'colorsys' not in sys.modules\n"
        "assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)\n"
        "import colorsys as itself\n"
        "assert itself is not colorsys and itself.__spec__ is not None\n"
    )
    assert "colorsys" in loaded_after(code)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["report", "--help"], ["fit", "--help"]])
def test_help_answers_without_loading_numpy(words: list[str]) -> None:
    loaded = loaded_after(f"from bayesgmm.cli import main; assert main({words!r}) == 0")
    assert not loaded & (HEAVY | {"numpy", "pandas", "scipy", "sklearn", "rich"})


def test_what_is_watched_for_would_be_seen() -> None:
    assert "matplotlib" in loaded_after("import matplotlib")
