"""Holds new results against stored ones: what got better, what got worse, and what cannot be told.

**Quality** is compared query by query. Which answers were right is kept beside every result (`results.hits`: a bit for
each answer, 0.6 to 9.2 KB a cell on digits), so neither data nor work folder is needed; where it is not, the kept
ranking is scored again, and where that is not at hand either, means and intervals have to do, and it is said. Three
metrics are tested: precision at the smallest and largest K, and MAP over all answers that were kept, which sees every
one of them. A difference counts where it is both

- more than luck: the randomisation test over the queries, the seeds in common averaged, with Holm's correction over
  all cells and metrics that changed at all; and
- worth an alarm: the mean moved by half a point (`--floor`) and by more than seeds differ among themselves, since a
  network that is trained again elsewhere is another draw. Or, where nine of ten queries are answered as before, so
  that it must be the same network, half a percent of the queries moved one way on balance: a defect that spoils a few
  queries moves the mean of a large benchmark by next to nothing.

**Cost** is compared as a ratio, times and peaks of memory only between results of one machine (`--slower`), and never
less than stored seeds differ; no time is where others used the machine while it was measured, on either side.

**The rest** is named: cells that are missing, failed or new, changed recipes, networks and libraries. A result with
another fingerprint answers another question: nothing is concluded from it, and that is no pass.
"""
