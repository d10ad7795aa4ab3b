"""Recipes, the registries of the classes that they name, and the fields of their schemas."""
