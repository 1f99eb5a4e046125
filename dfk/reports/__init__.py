"""What a person reads of a model: reports, tables and plots."""
