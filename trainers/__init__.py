"""One file per paper, a folder where a paper has machinery of its own; `load_plugins` imports and so registers them."""
