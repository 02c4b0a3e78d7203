"""Public tables and ratings completed by us and by others: see `__main__`."""
