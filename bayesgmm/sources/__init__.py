"""Data that need not fit into memory: files in pieces, and Dask's collections, as rows in chunks."""

from bayesgmm.sources.open import is_chunked, open_rows

__all__ = ["is_chunked", "open_rows"]
