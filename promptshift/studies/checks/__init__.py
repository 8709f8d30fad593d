"""One module per question; each registers its studies by name."""
