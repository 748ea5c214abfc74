"""The pages say what is true: their Python runs and prints what they show, and every check has its words."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import bayesgmm as bg
from bayesgmm.bayes.draws import SAMPLERS
from bayesgmm.comparison import verdicts as comparison
from benchmarks.calibration.reliability import LEAST_SHARE
from benchmarks.calibration.sbc import LEAST_P, MOST_ERRORS

checks = importlib.import_module("bayesgmm.diagnostics.verdict")  # the package has a function of this name

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if not {"api", "gallery", "decisions"} & set(path.relative_to(DOCS).parts))
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
COMMON = DOCS / "guide" / "verdicts.md"


def blocks(page: Path) -> list[tuple[str, str]]:
    """Python blocks of a page in their order, each with the output that is shown below it."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def differs(shown: str, printed: str) -> bool:
    """Whether a program printed other words than are shown, or numbers that are not about the same: other machines round otherwise."""
    if shown.split() == printed.split():
        return False
    words, numbers = zip(*(masked(text) for text in (shown, printed)), strict=True)
    return words[0] != words[1] or numbers[1] != pytest.approx(numbers[0], rel=0.3, abs=0.1)


def masked(text: str) -> tuple[list[str], list[float]]:
    """Words of a text with a mark in the place of every number, and the numbers."""
    found = [float(number.replace(",", "").replace("−", "-")) for number in NUMBER.findall(text)]
    return NUMBER.sub("#", text).split(), found


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_names_that_a_page_uses_are_there(page: Path) -> None:
    tree = ast.parse("".join(code for code, _ in blocks(page)))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bayesgmm"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, name.name) for name in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "bg":
            assert hasattr(bg, node.attr)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_what_a_page_shows_is_what_its_code_prints(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for code, shown in blocks(page):
        exec(compile(code, str(page), "exec"), names)
        printed = capsys.readouterr().out
        assert not shown or not differs(shown, printed), f"shown:\n{shown}\nprinted:\n{printed}"


def test_output_that_differs_would_be_found() -> None:
    assert differs("2 groups, p = 0.25", "3 groups, p = 0.25")
    assert differs("2 groups of rows", "2 groups of columns")
    assert differs("all 12", "all")
    assert not differs("R-hat 1.003, −1,130.3 in all", "R-hat 1.005,  −1,130.1 in all")


def names_in_the_code() -> tuple[set[str], list[str]]:
    """First arguments of every Check(...) of the package and its calibration: names, and patterns where a part is filled in."""
    names, patterns = set(), []
    for path in [*(ROOT / "bayesgmm").rglob("*.py"), *(ROOT / "benchmarks" / "calibration").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Check":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    names.add(first.value)
                elif isinstance(first, ast.JoinedStr):
                    patterns.append("".join(part.value if isinstance(part, ast.Constant) else "[a-z_]+" for part in first.values))
    return names, patterns


def documented() -> dict[str, str]:
    """The page's sections about checks, by their names."""
    parts = re.split(r"^#{2,3} (?:`(\w+)`|.+)$", COMMON.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name}


def test_every_check_of_the_code_has_its_words_and_none_that_is_gone() -> None:
    names, patterns = names_in_the_code()
    page = set(documented())
    assert len(names) > 15
    assert names <= page
    # Names that are put together at run time: those of an ordinary fit, and of draws that are no chains.
    made = {name for name in page - names if any(re.fullmatch(pattern, name) for pattern in patterns)}
    assert {"r_hat_label_free", "r_hat_relabelled", "ess_bulk", "ess_tail"} <= made
    assert page - names - made == {"r_hat", "ess"}


def test_a_fit_says_nothing_that_the_page_does_not_explain() -> None:
    X = bg.datasets.load_faithful()
    settings = {"draws": 100, "tune": 100, "random_state": 1, "progressbar": False}
    em = bg.GaussianMixture(2, random_state=1).fit(X)
    chains = bg.BayesianGaussianMixture(2, init=em, **settings).fit(X)
    independent_draws = bg.BayesianGaussianMixture(2, init=em, sampler="laplace", **settings).fit(X)
    said = [*chains.diagnose(), *independent_draws.diagnose(), *bg.compare(em, chains, n_replicates=20).verdicts]
    outcomes = {check.sentence.partition(":")[0].partition(" (")[0] for check in said if check.name == "convergence"}
    assert {check.name for check in said} <= set(documented())
    assert all(outcome in documented()["convergence"] for outcome in outcomes)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("r_hat_label_free", f"below {checks.R_HAT}"),
        ("r_hat_relabelled", f"below {checks.R_HAT}"),
        ("ess_bulk", f"at least {checks.ESS_PER_CHAIN} effective draws a chain"),
        ("ess_tail", f"at least {checks.ESS_PER_CHAIN} effective draws a chain"),
        ("mcse", f"at most {checks.MCSE} posterior"),
        ("e_bfmi", f"at least {checks.E_BFMI}"),
        ("empty_components", f"at most {checks.EMPTY}"),
        ("pareto_k", f"below {checks.PARETO_K}"),
        ("importance_ess", f"at least {checks.IMPORTANCE_ESS:.0f}"),
        ("agreement", f"at most {comparison._CHANGED} of the rows"),
        ("parameters", f"held to {comparison._DISTANCE:.0f} posterior"),
        ("predictive", f"at least {comparison._PREDICTIVE}"),
        ("doubt", f"at most {comparison._IN_DOUBT}"),
        ("doubt", f"at least {1 - comparison.DOUBT:.0%}"),
        ("ranks", f"above {LEAST_P}"),
        ("control", f"at most {LEAST_P}"),
        ("coverage", f"at most {MOST_ERRORS:.0f} standard errors"),
        ("reliability", f"in {LEAST_SHARE} of the designs"),
    ],
)
def test_thresholds_on_the_page_are_those_of_the_code(name: str, words: str) -> None:
    assert words in " ".join(documented()[name].split())


def test_every_outcome_of_the_verdict_is_explained() -> None:
    text = Path(checks.__file__).read_text(encoding="utf-8").partition("def _overall(")[2]
    rows = re.findall(r"^\| ([A-Z][^|]+) \|", documented()["convergence"], re.MULTILINE)
    # A sentence about draws begins with its outcome, up to a colon; helpers that fill in the middle begin it as well.
    begun = set(re.findall(r'return \(?\s*f?"([A-Z][a-z, ]+):|sentence = f?"([A-Z][a-z ]+)(?: \(\{what\}[^:]*)?:', text))
    outcomes = {first or second for first, second in begun if not second.startswith("Whether")} | {"Different modes"}
    assert len(outcomes) >= 8
    assert outcomes <= set(rows)
    assert all(row in text for row in rows)


def test_every_sampler_and_every_way_to_end_is_on_its_page() -> None:
    page = (DOCS / "guide" / "em_or_posterior.md").read_text(encoding="utf-8")
    assert all(f'`"{name}"`' in page for name in SAMPLERS)
    ends = COMMON.read_text(encoding="utf-8").partition("## How EM ended")[2]
    assert all(f"| `{status}` |" in ends for status in ("converged", "max_iter", "collapsed", "spurious"))


def test_links_between_pages_lead_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#:]+\.md)\)", page.read_text(encoding="utf-8"))]
    assert len(links) > 20
    assert [(page.name, link) for page, link in links if not (page.parent / link).resolve().exists()] == []
