"""CLIP models from names, files and the hub: where they lie, how their files are laid out, what they are."""
