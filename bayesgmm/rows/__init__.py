"""Rows of data, whether they are in memory, in files that are read in chunks, or on a cluster: one value with all that is known of them."""

from bayesgmm.rows.base import Chunk, MemoryRows, NoRows, Rows, as_chunk
from bayesgmm.rows.check import rows_to_fit, rows_to_predict
from bayesgmm.rows.given import Classes, concomitant_of, refuse_known, rows_with
from bayesgmm.rows.known import Known, same_labels
from bayesgmm.rows.open import is_chunked, open_rows, stream_rows

__all__ = [
    "Chunk",
    "Classes",
    "Known",
    "MemoryRows",
    "NoRows",
    "Rows",
    "as_chunk",
    "concomitant_of",
    "is_chunked",
    "open_rows",
    "refuse_known",
    "rows_to_fit",
    "rows_to_predict",
    "rows_with",
    "same_labels",
    "stream_rows",
]
