"""CLIP's frozen towers, run on prompts: text, vision, the block that both are made of, and where both end."""
