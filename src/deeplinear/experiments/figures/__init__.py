"""One module for each experiment: being in this folder is all that an experiment needs to be
listed, run, tested and shown.
"""
