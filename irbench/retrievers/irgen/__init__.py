"""IRGen, the generative retriever: tokenizer, decoder, trie and beam search. Names follow arXiv 2303.10126.

Shape letters of this package: B queries, T tokens of an image, D dimensions, N images, M codes in an identifier,
L entries of a codebook, K beam size, W slots of a level of the trie.
"""
