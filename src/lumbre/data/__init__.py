"""Anything -> batches: what a user holds is accepted, ordered, fetched and split here.

Used by datasets, fitted, nets, resume, run, trials and the root modules. Nothing here knows of models.
"""

from lumbre.data._accept import (
    Loaded,
    accept,
    by_names,
    by_places,
    columns_encoding,
    is_frame,
    parted,
    refuse_empty,
    taken,
    weighted,
    whole_targets,
)
from lumbre.data._aligned import in_one_order
from lumbre.data._augmented import Augmented
from lumbre.data._columns import Column
from lumbre.data._csv import from_csv
from lumbre.data._dicts import class_names, from_dicts, in_parts, parts_of
from lumbre.data._encoding import FrameEncoding
from lumbre.data._feed import LoaderFeed, RowFeed, mover
from lumbre.data._frames import FrameData, from_frame
from lumbre.data._matrix import CLIP
from lumbre.data._order import Order, RowOrder, Stripe, WeightedOrder, balanced_weights, shuffled
from lumbre.data._own_random import objects_behind, own_random, restore_own_random
from lumbre.data._pairs import PAIR_KEYS, as_pair
from lumbre.data._parquet import ParquetData, WindowOrder, from_parquet, parquet_by
from lumbre.data._quantiles import weighted_quantiles
from lumbre.data._record import FIRST_BATCH, data_record, forms, in_words, is_drawn_anew, row_dims, same_forms
from lumbre.data._sampling import sampling_weights
from lumbre.data._shared import Shared
from lumbre.data._shown import as_html, as_text, facts_of, first_pictures
from lumbre.data._sources import ArraySource, InMemoryDataset, MapSource, Taken
from lumbre.data._split import (
    Rows,
    check_order,
    countable,
    fold_numbers,
    folds,
    group_numbers,
    held_out,
    is_given,
    of_seed,
    ordered_folds,
    rows_in_order,
    split,
    split_rows,
    take_rows,
)
from lumbre.data._tables import Table
from lumbre.data._weights import WeightedRows, that_count
from lumbre.data._wrapped import unwrapped

__all__ = [
    "PAIR_KEYS",
    "ArraySource",
    "FrameData",
    "InMemoryDataset",
    "Order",
    "ParquetData",
    "WeightedOrder",
    "balanced_weights",
    "folds",
    "from_csv",
    "from_dicts",
    "from_frame",
    "from_parquet",
    "weighted",
]
__dir__ = __all__.copy  # names for dir() and tab completion
