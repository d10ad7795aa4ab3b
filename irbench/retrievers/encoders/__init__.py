"""Encoders: one file for each, named as its recipe is."""
