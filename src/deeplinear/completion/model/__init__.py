"""What remains of a fit: predictions, recommendations, model files."""
