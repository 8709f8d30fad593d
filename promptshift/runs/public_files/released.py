"""Values of public configuration files that mean something else here, or nothing: read, or refused with the reason."""

from __future__ import annotations

from typing import Any

from dassl.config import SKIP
from dassl.utils.errors import UserError

# key -> (the value that changes nothing here, why another is refused)
_UNREAD = {
    "TRAINER.PROMPTALIGN.LOADER": (True, "views of each test image are always made"),
    "TRAINER.PROMPTALIGN.RUN": (True, "the trainer always adapts; ask for MaPLe to test its prompts as they are"),
    "TRAINER.PROMPTALIGN.COCOOP": (False, "it starts from MaPLe, whose prompts it aligns"),
}
_WORDS = "a photo of a"
_SWITCHES = ("TRAINER.PROGRAD.CTX_INIT", "TRAINER.TCP.CTX_INIT")  # flags here too


def released_value(key: str, value: Any, source: str) -> Any:
    """Return what a file's value means here, `SKIP` where it changes nothing.

    KgCoOp's repository and those that grew from it have a switch where others have words: CTX_INIT False is a random
    start, True in KgCoOp's own block "a photo of a". In CoOp's and CoCoOp's blocks True stands for the dataset's
    template, and there the released code leaves "{}" in the context.

    Args:
        key: dotted, with the trainer's aliases resolved.
        value: as YAML reads it.
        source: the file, for messages.

    Raises:
        UserError: the value asks for what the released code does not do, or what there is no trainer for here.
    """
    if key in _UNREAD:
        usual, reason = _UNREAD[key]
        if value is usual:
            return SKIP
        raise UserError(f"{source}: {key}: {value}, allowed: {usual}; {reason}")
    if not key.endswith(".CTX_INIT") or not isinstance(value, bool) or key in _SWITCHES:
        return value
    if not value:
        return ""
    if key == "TRAINER.KGCOOP.CTX_INIT":
        return _WORDS
    raise UserError(
        f"{source}: {key}: True is the released switch for the dataset's template, whose '{{}}' its code leaves in the "
        f"context; give the words themselves, e.g. '{_WORDS}', or '' for a random start"
    )
