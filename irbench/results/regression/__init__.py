"""Regression check: compares new results with a baseline and reports what got better, worse, or cannot be decided.

**Quality** is compared query by query. The hits are stored beside every result (`results.hits`: one bit for each
retrieved image, 0.6 to 9.2 KB a cell on digits), so neither data nor work folder is needed; where they are not, the
stored ranking is scored again, and where that is not available either, means and intervals are compared, with a note.
Three metrics are tested: precision at the smallest and largest K, and MAP over all stored results, which depends on
each of them. A difference is reported as a change where it is both

- significant: by a randomisation test over the queries, the common seeds averaged, with Holm's correction over all
  cells and metrics that changed at all; and
- large enough: the mean moved by half a point (`--floor`) and by more than seeds differ among themselves, since a
  network that is trained again is another draw. Or, where nine of ten queries have the same hits as before, so that it
  must be the same network, half a percent of the queries moved one way on balance: a defect that affects a few queries
  hardly moves the mean of a large benchmark.

**Cost** is compared as a ratio, times and peaks of memory only between results of one machine (`--slower`), and never
more strictly than stored seeds differ. Times that were measured under concurrent load, on either side, are not
compared.

**Everything else** is reported as a note: cells that are missing, failed or new, changed recipes, networks and
libraries. Results with another fingerprint are not compared, and the check does not pass with them.
"""
