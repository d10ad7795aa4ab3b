"""The leaderboard: who has which score, best first, and what was refused."""

import json
from pathlib import Path

import pytest
from submitting import submitted

from irbench.report.site.leaderboard import leaderboard
from irbench.results.submissions.submission import FILE
from irbench.results.submissions.verify import verify


def test_accepted_submissions_are_ranked_and_others_named(tmp_path: Path) -> None:
    made = [
        submitted(tmp_path / who, 0, "pairs", who=who, page=page)
        for who, page in {"us": "https://example.org/us", "them": "javascript:alert(1)", "liars": ""}.items()
    ]
    listed = json.loads((made[2] / FILE).read_text())
    (made[2] / FILE).write_text(json.dumps(listed | {"files": {}}))
    verified = [verify(folder) for folder in made]
    found = leaderboard(verified)
    assert found.refused == verified[2].problems[:1]
    (table,) = found.tables
    assert table.columns == ("precision@1", "precision@3", "map@3", "ndcg@3", "map_trapezoid@3")
    assert [(one.submission.who, one.seeds, one.link) for one in table.ranks] == [
        ("us", 1, "https://example.org/us"), ("them", 1, "")
    ]  # fmt: skip  # both seeds of theirs have the same results
    stated = verified[0].results[0].metrics
    assert table.ranks[0].scores == pytest.approx([100 * stated[name].mean for name in table.columns])


def test_each_task_has_a_table_and_the_best_comes_first(tmp_path: Path) -> None:
    verified = [verify(submitted(tmp_path / str(seed), seed, "class")) for seed in range(3)]
    found = leaderboard(verified)
    assert len(found.tables) == 3  # whose images differ
    for table in found.tables:
        scores = [one.scores for one in table.ranks]
        assert scores == sorted(scores, reverse=True)
