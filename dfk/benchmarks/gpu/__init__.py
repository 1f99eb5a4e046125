"""`dfk benchmark gpu`: dfk on JAX beside PyTorch, on one GPU."""
