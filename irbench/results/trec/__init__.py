"""Exchange of rankings: run and qrels files for other evaluators, and run files of other programs."""
