"""Which configuration keys there are beside Dassl's: the project's, the trainers' own, and a public file's."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.utils.errors import UserError, shorten
from promptshift.runs.options import add_keys, take_over


def extend_cfg(cfg: CN, path: str = "", typed: str = "") -> None:
    """Adds the project's keys, every registered trainer's own block (its DEFAULTS), then the public blocks left.

    Args:
        cfg: Dassl's defaults.
        path: a file with a function `extend_cfg(cfg)`, e.g. the train.py of a public repository, which then adds its
            own keys and changes defaults; a number it declares as int stays a float where ours is one.
        typed: block of the trainer that is to run where it is ours: no value there may change its type.

    Raises:
        UserError: there is no such file or function, or it fails.
    """
    add_keys(cfg)
    if path:
        _call_extension(cfg, Path(path).expanduser().resolve(), typed)


def _call_extension(cfg: CN, path: Path, typed: str) -> None:
    function = _extension(path)
    theirs = cfg.clone()
    try:
        function(theirs)
    except Exception as error:
        raise UserError(f"EXTEND_CFG: extend_cfg of {path} fails: {type(error).__name__}: {shorten(error)}") from None
    take_over(cfg, theirs, f"TRAINER.{typed}" if typed else "")
    cfg.EXTEND_CFG = str(path)


def _extension(path: Path) -> Callable[[CN], None]:
    """The function, without those imports of a train.py that serve its main program and are not here.

    Each statement of the file runs on its own; nothing does below `if __name__ == "__main__"`.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"EXTEND_CFG: cannot read {path}: {getattr(error, 'strerror', 'not a text file')}") from None
    except (SyntaxError, ValueError) as error:
        raise UserError(f"EXTEND_CFG: {path} is no Python file: {shorten(error)}") from None
    names: dict = {"__name__": path.stem, "__file__": str(path)}
    for statement in tree.body:
        try:
            exec(compile(ast.Module([statement], []), str(path), "exec"), names)
        except ImportError:
            continue  # a name that is needed is missed when the function runs
        except Exception as error:
            raise UserError(f"EXTEND_CFG: {path}, line {statement.lineno}: {shorten(error)}") from None
    if not callable(names.get("extend_cfg")):
        raise UserError(f"EXTEND_CFG: {path} defines no function extend_cfg(cfg)")
    return names["extend_cfg"]
