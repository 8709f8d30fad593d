"""What files of public repositories say: their blocks, the keys they declare, values of another meaning."""
