"""Files: the archive of a model. Nothing here executes what it reads: no pickle, no import by a name in a file."""

from lumbre.storage._archive import Archive as Archive
from lumbre.storage._archive import read_archive as read_archive
from lumbre.storage._archive import write_archive as write_archive
