"""Labelled datasets on disk: schema, store, manifest, parameters."""
