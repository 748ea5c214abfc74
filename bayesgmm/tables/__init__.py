"""What is a table of numbers: the one place where anything a user gives becomes float64, or is refused."""

from bayesgmm.tables.numeric import (
    NotNumbersError,
    Wrong,
    array_of,
    as_numbers,
    boolean_columns,
    check_columns,
    column_names,
    column_of,
    default_names,
    frame_of,
    has_booleans,
    numbers_in,
    refuse_categories,
    warn_of_booleans,
)

__all__ = [
    "NotNumbersError",
    "Wrong",
    "array_of",
    "as_numbers",
    "boolean_columns",
    "check_columns",
    "column_names",
    "column_of",
    "default_names",
    "frame_of",
    "has_booleans",
    "numbers_in",
    "refuse_categories",
    "warn_of_booleans",
]
