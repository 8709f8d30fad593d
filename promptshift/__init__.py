"""PromptShift: CLIP prompt learning under shift, one registered trainer per paper."""
__version__ = "0.1.0"
