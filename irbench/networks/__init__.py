"""Pretrained and untrained networks, and where their weights come from."""
