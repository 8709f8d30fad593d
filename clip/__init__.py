"""OpenAI's `clip` package as the trainer files of the public CoOp and MaPLe repositories import it.

A drop-in over `promptshift.modeling`: the names, calling conventions and parameter names are OpenAI's, the modules,
weights and tokenizer are open_clip's. `MODEL.BACKBONE.NAME mini` works as well. Our own trainers do not use it. It is
used from the checkout and never installed, so it shadows no `clip` of another project.
"""

from clip.clip import available_models, load, tokenize

__all__ = ["available_models", "load", "tokenize"]
