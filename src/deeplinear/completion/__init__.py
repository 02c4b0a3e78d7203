"""Matrix completion with depth as the knob: pure functions in `engine`, the scikit-learn estimator
in `estimators`.
"""
