"""What options of this layer allow, for declarations that must not load torch."""

PRECISIONS = {"fp32": "float32", "amp": "float32", "fp16": "float16", "bf16": "bfloat16"}  # -> torch's dtype of CLIP
POSITIONS = ("end", "middle", "front")  # of the class name in a prompt
