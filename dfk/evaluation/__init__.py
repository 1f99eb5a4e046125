"""How good a model is: arithmetic only."""
