"""The kinds of identifiers; the recipes in methods/identifier/ name them."""
