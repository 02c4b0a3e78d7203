"""The two passes over the observed entries, on compiled loops, on NumPy, or on JAX devices."""
