"""How functions are compiled: once per machine, and again when anything they are made of has changed.

numba stores machine code beside the source, or in the user's cache folder, and takes it for current while the file that holds the
function is unchanged. A function that calls ours from another file would then keep an old copy of it inside, so here every
function's stamp covers all kernels beside it and below it too. Where nothing can be stored (no folder that may be written, a full disk),
functions are compiled anew in every process, after one warning.
"""

import hashlib
import pickle
import warnings
from collections.abc import Callable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numba.experimental.function_type  # noqa: F401 - teaches numba what a pointer is
import numpy as np
from numba import njit, types
from numba.core import cgutils, sigutils, typing
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.extending import intrinsic

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}
"""Fast-math flags of the kernels: sums may be reordered and fused, but NaN and infinity keep their meaning."""

_UNREADABLE = (EOFError, pickle.UnpicklingError, AttributeError, ImportError)
"""What an index raises that is broken, or that names a class of another version of this package."""

_warned = False


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function that releases the GIL; further options are those of ``numba.njit``."""

    def decorate(function: Callable[..., Any]) -> Any:
        # NumPy's error model divides without a check for zero, whose branch would keep a loop from being vectorised.
        dispatcher = njit(nogil=True, error_model="numpy", **options)(function)
        _give_cache(dispatcher, function)
        return dispatcher

    return decorate


def compiled_callback(signature: Any) -> Callable[[Callable[..., Any]], CFunc]:
    """Compile a function for callers in C, at once."""

    def decorate(function: Callable[..., Any]) -> CFunc:
        callback = CFunc(function, sigutils.normalize_signature(signature), locals={}, options={"error_model": "numpy"})
        _give_cache(callback, function)
        callback.compile()
        return callback

    return decorate


class Pointer:
    """A compiled function as an argument of another: called where it lies, so that its caller is compiled once for all of them.

    Parameters
    ----------
    function : compiled function
        It is compiled, or read from the disk, when it is first passed on.
    result : numba type
        What it returns.
    arguments : tuple of numba types
        What it takes.
    """

    def __init__(self, function: Any, result: Any, arguments: tuple[Any, ...]) -> None:
        self.function, self.result, self.arguments = function, result, arguments
        self._numba_type_ = types.FunctionType(typing.signature(result, *arguments))
        """What it is to numba, which asks for this name."""

    @cached_property
    def address(self) -> int:
        """Where the function begins, in this process."""
        self.function.compile(self.arguments)
        result = self.function.overloads[self.arguments]
        if types.unliteral(result.signature) != self._numba_type_.signature:  # a call would then read what is not there
            raise TypeError(f"{self.function.__name__} is {result.signature}, not {self._numba_type_.signature} as was declared")
        return int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))

    def __wrapper_address__(self) -> int:
        """Return where the function begins; numba asks for it."""
        return self.address


def function_at(pointer: Pointer) -> Any:
    """Return a compiled function that turns the address (int64) of any function declared like this one into that function.

    It is for callers that can be handed numbers only. Nothing checks the number: it must come from the same process.
    """
    kind = pointer._numba_type_

    @intrinsic
    def function(typingctx: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = cgutils.create_struct_proxy(kind)(context, builder)
            value.c_addr = builder.inttoptr(args[0], cgutils.voidptr_t)
            value.py_addr = value.jit_addr = cgutils.get_null_value(cgutils.voidptr_t)
            return value._getvalue()  # noqa: SLF001 - numba has no other name for it

        return kind(types.int64), generate

    return function


@intrinsic
def prefer_wide_vectors(typingctx: Any) -> Any:
    """Mark the function being compiled so that LLVM uses 512-bit vectors where the processor has them.

    By default LLVM stays at 256 bits on most of them, which costs these kernels about a third of their speed. Elsewhere the mark means
    nothing. The attribute is a string one, for which llvmlite has no method of its own.
    """
    return types.void(), _with_attribute('"prefer-vector-width"="512"')


def plain(array: np.ndarray) -> np.ndarray:
    """Return an array as one for which everything is compiled, itself if it is: doubles, writable and in C's order."""
    return array if array.flags.carray and array.dtype == np.float64 else np.require(array, np.float64, ["C", "A", "W"])


@intrinsic
def never_inline(typingctx: Any) -> Any:
    """Mark the function being compiled as one that is called, not copied into its callers.

    A whole pass over the data, copied into everything that needs one, would be optimised again each time: a third of all the time that
    compiling takes.
    """
    return types.void(), _with_attribute("noinline")


def _with_attribute(name: str) -> Callable[..., Any]:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        set.add(builder.function.attributes, name)
        return context.get_dummy_value()

    return generate


class _Cache(FunctionCache):
    """numba's cache with our stamp, for which a file that cannot be read or written is no reason to fail."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            self._cache_path, self._impl.filename_base, source_stamp(function.__code__.co_filename)
        )

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except (OSError, *_UNREADABLE):
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_once(str(error))
        except _UNREADABLE:  # an index that cannot be read is thrown away, not repaired
            self.flush()


def _give_cache(compilable: Any, function: Callable[..., Any]) -> None:
    try:
        compilable._cache = _Cache(function)  # noqa: SLF001 - numba takes its cache from there
    except RuntimeError as error:  # numba found no folder it may write to
        _warn_once(str(error))


def source_stamp(*paths: str) -> str:
    """Return a digest of every kernel in this folder, of further source files and of the kernels beside these."""
    folders = (Path(__file__).parent, *(Path(path).parent for path in paths))
    digest = hashlib.sha256("".join(map(_folder_stamp, dict.fromkeys(folders))).encode())
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


@cache
def _folder_stamp(folder: Path) -> str:
    """Return a digest of the kernels in a folder, read once: they do not change while a process runs."""
    return hashlib.sha256(
        b"".join(path.read_bytes() for path in sorted(folder.glob("*.py" if folder == Path(__file__).parent else "_*.py")))
    ).hexdigest()


def _warn_once(reason: str) -> None:
    global _warned  # noqa: PLW0603 - one per process is the point
    if not _warned:
        _warned = True
        warnings.warn(
            f"compiled functions cannot be stored ({reason}) and will be compiled again in every process: "
            "set NUMBA_CACHE_DIR to a folder that can be written",
            stacklevel=2,
        )
