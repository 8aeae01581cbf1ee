"""Files: archives of models, checkpoints of runs, R's files.

Used by callbacks, fitted, nets, resume, run, trials and the root modules. Nothing here executes what it reads: no
pickle, no import by a name in a file. What a file means to a run is for `fitted` and `resume` to say.
"""

from lumbre.storage._agreed import agreed
from lumbre.storage._archive import LOSS_PREFIX, Archive, read_archive, read_several, write_archive, write_several
from lumbre.storage._checkpoints import CheckpointStore, CheckpointWarning, Part, Stored
from lumbre.storage._codec import pack, unpack
from lumbre.storage._contents import FileContents, inspect_file, load_weights
from lumbre.storage._schema import checked_model, checked_run, is_history
