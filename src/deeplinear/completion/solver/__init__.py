"""The fit: penalty schedules, sweeps, paths over strengths, the implicit flow, certificates."""
