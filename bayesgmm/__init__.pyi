"""What ``bayesgmm`` offers: lazy_loader reads it when the package is imported, and type checkers do."""

from . import criticism as criticism
from . import datasets as datasets
from . import diagnostics as diagnostics
from . import exceptions as exceptions
from . import labels as labels
from . import partitions as partitions
from . import plots as plots
from . import priors as priors
from . import report as report
from . import selection as selection
from .bayes.model import build_model as build_model
from .comparison import Comparison as Comparison
from .comparison import compare as compare
from .estimators import BayesianGaussianMixture as BayesianGaussianMixture
from .estimators import GaussianMixture as GaussianMixture
from .estimators.draws_file import load_draws as load_draws
from .estimators.draws_file import save_draws as save_draws
from .params import MixtureParams as MixtureParams
from .priors import ConjugatePriors as ConjugatePriors
from .priors import Priors as Priors
from .rows import open_rows as open_rows
from .selection import BootstrapLRT as BootstrapLRT
from .selection import Merging as Merging
from .selection import Selection as Selection
from .selection import bootstrap_lrt as bootstrap_lrt
from .selection import merge_components as merge_components
from .selection import select as select

__version__: str
