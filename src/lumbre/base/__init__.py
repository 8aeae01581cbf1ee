"""What every other package stands on: errors, protocols, seeds, nested structures, optional imports, files.

Used by every package. It imports none of them, and trains nothing.
"""

from lumbre.base._call import caller as caller
from lumbre.base._call import class_of as class_of
from lumbre.base._call import own_method as own_method
from lumbre.base._errors import ArchiveError as ArchiveError
from lumbre.base._errors import CallbackError as CallbackError
from lumbre.base._errors import DataError as DataError
from lumbre.base._errors import DownloadError as DownloadError
from lumbre.base._errors import LaunchError as LaunchError
from lumbre.base._errors import LumbreError as LumbreError
from lumbre.base._errors import MissingExtraError as MissingExtraError
from lumbre.base._errors import NonFiniteLossError as NonFiniteLossError
from lumbre.base._errors import OptionError as OptionError
from lumbre.base._errors import OutOfMemoryError as OutOfMemoryError
from lumbre.base._errors import PeerError as PeerError
from lumbre.base._errors import PreflightError as PreflightError
from lumbre.base._errors import RecipeError as RecipeError
from lumbre.base._errors import ResumeError as ResumeError
from lumbre.base._errors import did_you_mean as did_you_mean
from lumbre.base._errors import is_out_of_memory as is_out_of_memory
from lumbre.base._extras import import_extra as import_extra
from lumbre.base._files import written_beside as written_beside
from lumbre.base._nested import Nested as Nested
from lumbre.base._nested import concatenate as concatenate
from lumbre.base._nested import describe as describe
from lumbre.base._nested import leaves as leaves
from lumbre.base._nested import map_leaves as map_leaves
from lumbre.base._nested import row_count as row_count
from lumbre.base._optimizers import is_adaptive as is_adaptive
from lumbre.base._optimizers import needs_closure as needs_closure
from lumbre.base._optimizers import traits as traits
from lumbre.base._processor import mkl_is_slow as mkl_is_slow
from lumbre.base._protocols import Batch as Batch
from lumbre.base._protocols import Batches as Batches
from lumbre.base._protocols import Engine as Engine
from lumbre.base._protocols import Keeper as Keeper
from lumbre.base._protocols import Loss as Loss
from lumbre.base._protocols import Losses as Losses
from lumbre.base._protocols import Meter as Meter
from lumbre.base._protocols import NamedLosses as NamedLosses
from lumbre.base._protocols import Rows as Rows
from lumbre.base._protocols import Source as Source
from lumbre.base._protocols import total_loss as total_loss
from lumbre.base._records import DataRecord as DataRecord
from lumbre.base._seeds import preserved_randomness as preserved_randomness
from lumbre.base._seeds import seed_host as seed_host
from lumbre.base._seeds import stream as stream
from lumbre.base._shards import is_shared as is_shared
from lumbre.base._shards import own_part as own_part
from lumbre.base._shards import shared_like as shared_like
from lumbre.base._shards import whole as whole
from lumbre.base._untouched import tried as tried
from lumbre.base._untouched import untouched as untouched
from lumbre.base._version import __version__ as __version__
