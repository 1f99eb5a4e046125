"""What dfk costs, beside what people would use instead: one module per part of `dfk benchmark`."""
