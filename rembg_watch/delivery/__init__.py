"""From a result to the mirrored file: what it is called, and how it gets there whole or not at all.

The only code that writes outboxes, archives and failed folders. Paths are text as ``os.fsdecode`` gives it (bytes
that are no UTF-8 as lone surrogates). Errors are ``TargetError`` (with the code of the hold), ``SourceError``
and ``PictureError``, never an OSError; a ValueError means that the caller passed a path that leads out of its root.
"""

from rembg_watch.delivery.copying import copy_result
from rembg_watch.delivery.files import (
    TempFile,
    hash_file,
    open_source,
    open_temp,
    reopen_temp,
    same_content,
    temp_tag,
)
from rembg_watch.delivery.folders import space_left, writable
from rembg_watch.delivery.naming import Owner, Template, candidates, choose, validate_template
from rembg_watch.delivery.placing import commit, place, sync, sync_folder
from rembg_watch.delivery.sweep import sweep_folder, sweep_temps
from rembg_watch.delivery.tidy import archive, delete, move_failed

__all__ = [
    "Owner",
    "TempFile",
    "Template",
    "archive",
    "candidates",
    "choose",
    "commit",
    "copy_result",
    "delete",
    "hash_file",
    "move_failed",
    "open_source",
    "open_temp",
    "place",
    "reopen_temp",
    "same_content",
    "space_left",
    "sweep_folder",
    "sweep_temps",
    "sync",
    "sync_folder",
    "temp_tag",
    "validate_template",
    "writable",
]
