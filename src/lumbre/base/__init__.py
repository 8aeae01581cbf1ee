"""What every other package stands on: errors, protocols, seeds, nested structures, optional imports, files.

Used by every package. It imports none of them, and trains nothing.
"""

from lumbre.base._attributes import (
    OF_TORCH,
    attributes_of,
    attributes_of_module,
    functions_of_class,
    is_users_own,
    values_of_class,
)
from lumbre.base._budget import Budget
from lumbre.base._buffers import give_buffers, load_state, may_change, put_buffer, put_buffers
from lumbre.base._call import caller, class_of, own_method
from lumbre.base._checks import as_path, at_least, has_column, no_more, one_of, only_numbers, within
from lumbre.base._curve import lines_svg
from lumbre.base._divisor import Divisor, LabelMean, divisor_of, ignored_label, nothing_for_nothing, reduction_of
from lumbre.base._errors import (
    ArchiveError,
    CallbackError,
    DataError,
    DownloadError,
    LaunchError,
    LumbreError,
    MissingExtraError,
    NonFiniteLossError,
    OptionError,
    OutOfMemoryError,
    PeerError,
    PreflightError,
    RecipeError,
    ResumeError,
    brief,
    did_you_mean,
    is_out_of_memory,
)
from lumbre.base._extras import import_extra
from lumbre.base._files import written_beside
from lumbre.base._fork import can_fork, start_autograd
from lumbre.base._hints import loss_hint
from lumbre.base._joined import Column, Joiner, joined
from lumbre.base._nested import (
    Nested,
    cloned,
    concatenate,
    describe,
    detached,
    is_batch,
    leaves,
    map_leaves,
    pair_count,
    row_count,
    with_row,
)
from lumbre.base._norm import norm_of
from lumbre.base._optimizers import (
    Traits,
    has_modes,
    is_adaptive,
    needs_closure,
    needs_graph,
    rate_in,
    steps_twice,
    takes_sparse,
    traits,
)
from lumbre.base._prints import held_by_function, print_of, prints_of_globals
from lumbre.base._processor import flushes_denormals, mkl_is_slow
from lumbre.base._protocols import (
    Batch,
    Batches,
    Engine,
    Keeper,
    Loss,
    Losses,
    Meter,
    NamedLosses,
    Rows,
    Source,
    as_scalar,
    one_number,
    total_loss,
)
from lumbre.base._records import DataRecord
from lumbre.base._response import OWN, UNLIKE_TARGETS, Response, Scale, scale_of, stored_scale
from lumbre.base._screen import (
    folded_text,
    html_code,
    html_facts,
    html_folded,
    html_pictures,
    html_table,
    is_pictures,
    listed,
    png,
)
from lumbre.base._seeds import GENERATORS, HOST_CHANCE, preserved_randomness, seed_host, stream
from lumbre.base._shards import is_shared, own_part, shared_like, whole
from lumbre.base._target import Weighted, spread
from lumbre.base._unchanged import Noted, kept_chance, noted_once, unchanged
from lumbre.base._untouched import tried, untouched
from lumbre.base._version import __version__
from lumbre.base._watched import watched_scale
from lumbre.base._weighted import RowLoss
