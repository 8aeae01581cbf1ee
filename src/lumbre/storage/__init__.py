"""Files: archives of models, checkpoints of runs, R's files.

Used by callbacks, fitted, resume, run, trials and the root modules. Nothing here executes what it reads: no pickle, no
import by a name in a file. What a file means to a run is for `fitted` and `resume` to say.
"""

from lumbre.storage._agreed import agreed as agreed
from lumbre.storage._archive import Archive as Archive
from lumbre.storage._archive import read_archive as read_archive
from lumbre.storage._archive import write_archive as write_archive
from lumbre.storage._checkpoints import CheckpointStore as CheckpointStore
from lumbre.storage._checkpoints import CheckpointWarning as CheckpointWarning
from lumbre.storage._checkpoints import Part as Part
from lumbre.storage._checkpoints import Stored as Stored
from lumbre.storage._codec import pack as pack
from lumbre.storage._codec import unpack as unpack
from lumbre.storage._contents import FileContents as FileContents
from lumbre.storage._contents import inspect_file as inspect_file
from lumbre.storage._contents import load_weights as load_weights
from lumbre.storage._schema import checked_model as checked_model
from lumbre.storage._schema import checked_run as checked_run
from lumbre.storage._schema import is_history as is_history
