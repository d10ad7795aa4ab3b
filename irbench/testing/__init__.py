"""Contracts that anybody's encoder, searcher, identifier or retriever has to keep, as functions that check them."""
