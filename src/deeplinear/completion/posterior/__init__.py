"""How far off a prediction may be: posterior draws, local deviations, calibrated intervals."""
