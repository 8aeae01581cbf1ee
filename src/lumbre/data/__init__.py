"""Anything -> batches: what a user holds is accepted, ordered, fetched and split here.

Used by datasets, fitted, resume, run, trials and the root modules. Nothing here knows of models.
"""

from lumbre.data._accept import Loaded as Loaded
from lumbre.data._accept import accept as accept
from lumbre.data._accept import is_frame as is_frame
from lumbre.data._augmented import Augmented as Augmented
from lumbre.data._csv import from_csv as from_csv
from lumbre.data._feed import LoaderFeed as LoaderFeed
from lumbre.data._feed import RowFeed as RowFeed
from lumbre.data._frames import Column as Column
from lumbre.data._frames import FrameData as FrameData
from lumbre.data._frames import FrameEncoding as FrameEncoding
from lumbre.data._frames import from_frame as from_frame
from lumbre.data._order import Order as Order
from lumbre.data._order import RowOrder as RowOrder
from lumbre.data._order import Stripe as Stripe
from lumbre.data._order import WeightedOrder as WeightedOrder
from lumbre.data._order import balanced_weights as balanced_weights
from lumbre.data._order import shuffled as shuffled
from lumbre.data._own_chance import own_chance as own_chance
from lumbre.data._own_chance import restore_own_chance as restore_own_chance
from lumbre.data._parquet import ParquetData as ParquetData
from lumbre.data._parquet import WindowOrder as WindowOrder
from lumbre.data._parquet import from_parquet as from_parquet
from lumbre.data._parquet import parquet_by as parquet_by
from lumbre.data._record import data_record as data_record
from lumbre.data._sampling import sampling_weights as sampling_weights
from lumbre.data._shared import Shared as Shared
from lumbre.data._sources import ArraySource as ArraySource
from lumbre.data._sources import InMemoryDataset as InMemoryDataset
from lumbre.data._sources import Taken as Taken
from lumbre.data._split import folds as folds
from lumbre.data._split import held_out as held_out
from lumbre.data._split import split as split
from lumbre.data._split import split_rows as split_rows

__all__ = [
    "ArraySource",
    "FrameData",
    "InMemoryDataset",
    "Order",
    "ParquetData",
    "WeightedOrder",
    "balanced_weights",
    "folds",
    "from_csv",
    "from_frame",
    "from_parquet",
]
__dir__ = __all__.copy  # names for dir() and tab completion
