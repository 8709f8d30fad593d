"""The keys of a trainer that another one wraps: collected once, kept in the wrapper's own block."""

from __future__ import annotations

import dataclasses

from yacs.config import CfgNode as CN

from dassl.config.options import block
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.runs.config import flatten
from promptshift.runs.finished_run import run_options
from promptshift.runs.stages import Stage, configuration


def block_pairs(opts: list) -> list[tuple]:
    """[KEY, VALUE, KEY, VALUE, ...] -> [(KEY, VALUE), ...].

    Raises:
        UserError: a word stands alone.
    """
    if len(opts) % 2:
        raise UserError(f"{opts[-1]!r} stands alone among the options of a wrapped trainer; expected KEY VALUE pairs")
    return list(zip(opts[::2], opts[1::2], strict=True))


def block_options(cfg: CN, stage: Stage) -> list:
    """The pairs of `stage.opts`, and before them every key of the wrapped trainer's own block.

    Values of that block are those of the named run or of its YAML; over them stand keys of cfg.TRAINER.<its block>
    that are not at their default. With the result in the wrapper's configuration, neither run nor YAML is needed to
    test.

    Args:
        cfg: the wrapper's configuration.
        stage: the wrapped trainer's run, as the wrapper declares it.

    Raises:
        UserError: no such run or YAML, a bad value, or a key that contradicts the run.
    """
    cls = TRAINER_REGISTRY.get(stage.trainer)
    prefix, defaults = f"TRAINER.{cls.BLOCK}.", flatten(block(cls.DEFAULTS))
    beside = {
        prefix + name: value for name, value in flatten(cfg.TRAINER[cls.BLOCK]).items() if value != defaults[name]
    }
    asked = beside | dict(block_pairs(stage.opts))
    found = run_options(stage.run, stage.key) if stage.run else None
    if found is None:
        pairs = [word for pair in asked.items() for word in pair]
        found = flatten(configuration(cfg, dataclasses.replace(stage, opts=pairs)))
    own = {name: value for name, value in found.items() if name.startswith(prefix)}
    for name in asked:
        if name in own and own[name] != asked[name]:
            raise UserError(
                f"{name}: {asked[name]!r}, but the run in {stage.key} ({stage.run}) has {own[name]!r}; "
                "leave the key out"
            )
    kept = own | asked
    return [word for name in sorted(kept) for word in (name, kept[name])]
