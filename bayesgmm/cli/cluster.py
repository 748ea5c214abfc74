"""A running Dask cluster, or one sentence that says why there is none."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

from bayesgmm.exceptions import BayesGMMError, InvalidParameterError

__all__ = ["PATIENCE", "connected"]

PATIENCE = 5.0
"""Seconds in which a scheduler must answer, and have a worker."""


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Let a cluster's workers read the data and do the sums as long as the block runs.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``tcp://10.0.0.5:8786``.

    Raises
    ------
    InvalidParameterError
        If Dask is not installed, the address is none, nothing answers there within seconds, or the cluster has no workers.
    BayesGMMError
        If the scheduler goes away while the block runs.
    """
    try:
        from distributed import Client
        from distributed.comm.core import CommClosedError
    except ImportError:
        raise InvalidParameterError("--scheduler needs Dask, which is not installed: pip install 'bayesgmm[dask]'") from None
    _check_answers(address)
    with Client(address, timeout=PATIENCE) as client:
        _check_workers(client, address)
        try:
            yield
        except (CommClosedError, CancelledError) as error:
            raise BayesGMMError(
                f"The connection to the scheduler at {address} broke off: see whether it still runs, then start again "
                "(with --checkpoint a fit can go on from where it was)"
            ) from error


def _check_answers(address: str) -> None:
    """Greet the scheduler first: Dask's own client would wait without end for a port that is open and says nothing."""
    from distributed.comm.addressing import parse_address, parse_host_port

    try:
        scheme, location = parse_address(address)
        if scheme in ("tcp", "tls"):
            # A port at which nobody listens says so at once, and Dask would try it again for seconds.
            socket.create_connection(parse_host_port(location), PATIENCE).close()
        asyncio.run(_greet(address))
    except ValueError as error:
        raise InvalidParameterError(f"--scheduler {address}: {error}; an address looks like tcp://10.0.0.5:8786") from None
    except TimeoutError:
        raise InvalidParameterError(f"No Dask scheduler answered at {address} within {PATIENCE:.0f} seconds.") from None
    # What speaks another language begins with what Dask takes for the length of a message.
    except (OSError, MemoryError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "what answers there is something else"
        raise InvalidParameterError(f"There is no Dask scheduler at {address}: {why}.") from None


async def _greet(address: str) -> None:
    from distributed import Security, connect

    async with asyncio.timeout(PATIENCE):
        comm = await connect(address, timeout=PATIENCE, **Security().get_connection_args("client"))
        comm.abort()


def _check_workers(client: object, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=PATIENCE)  # type: ignore[attr-defined]
    except TimeoutError:
        raise InvalidParameterError(f"The scheduler at {address} has no workers: start some with dask worker {address}") from None
