"""CLIP's byte-pair tokenizer under OpenAI's module path and token names."""

from __future__ import annotations

import regex
from open_clip.tokenizer import SimpleTokenizer as OpenClipTokenizer
from open_clip.tokenizer import default_bpe

_RENAMED = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}  # open_clip's name -> OpenAI's


class SimpleTokenizer(OpenClipTokenizer):
    """`encode(text)` -> token ids without start and end, `decode(ids)` -> text; 49408 tokens.

    open_clip's tokenizer, with the two special tokens spelt as OpenAI spells them in `encoder`, `decoder` and in texts.
    """

    def __init__(self, bpe_path: str = default_bpe()):
        super().__init__(bpe_path)
        pattern = self.pat.pattern
        for name, openai in _RENAMED.items():
            index = self.encoder.pop(name)
            self.encoder[openai], self.decoder[index] = index, openai
            del self.cache[name]
            self.cache[openai] = openai
            pattern = pattern.replace(name, regex.escape(openai))
        self.pat = regex.compile(pattern, regex.IGNORECASE)
