"""The benches at sizes that take a moment: what they report is what they measured."""

import json

import pytest
import torch
from typer.testing import CliRunner

from irbench.bench.beam import Model, Plan, compare, disagreement, measure
from irbench.cli import app
from irbench.errors import UsageError


def test_trie_prints_a_line_for_each_size_or_one_document() -> None:
    printed = CliRunner().invoke(app, ["bench", "trie", "--sizes", "100,2000", "--codes", "16"])
    assert printed.exit_code == 0
    assert [line.split()[0] for line in printed.stdout.strip().splitlines()[1:]] == ["100", "2,000"]
    document = CliRunner().invoke(app, ["bench", "trie", "--sizes", "100", "--codes", "16", "--length", "3", "--json"])
    built = json.loads(document.stdout)["tries"]
    assert [(row["identifiers"], row["length"], row["codes"]) for row in built] == [(100, 3, 16)]
    assert all(row["build_s"] > 0 and row["bytes"] > 0 and row["step_ms"] > 0 for row in built)


def test_beam_holds_the_answers_against_the_reference_decoder() -> None:
    plan = Plan(beams=(1, 3), batches=(1, 2), compared=((3, 3),), backbone="test_vit", depth=2, length=3, patience=0)
    model = Model(plan, "cpu", "fp32")
    assert len(model.pictures) == 3
    points = list(measure(model, plan))
    assert [(point.batch, point.beams) for point in points] == [(1, 1), (1, 3), (2, 1), (2, 3)]
    for point in points:
        assert point.total_s >= point.encoder_s + point.decoder_s + point.trie_s > 0
    (comparison,) = compare(model, plan)
    assert (comparison.batch, comparison.beams, comparison.leaves_differing) == (3, 3, 0)
    assert comparison.score_difference < 1e-4
    assert comparison.ratio_decoding > 0


@pytest.mark.parametrize(
    "command",
    ["trie --sizes many", "trie --sizes 10,0", "beam --compare 16", "beam --beams 1,,2", "beam --precision fp64"],
)
def test_what_cannot_be_measured_is_refused_by_name(command: str) -> None:
    refused = CliRunner().invoke(app, ["bench", *command.split()])
    assert isinstance(refused.exception, UsageError)
    assert command.split()[1] in str(refused.exception)


def test_other_leaves_are_counted_unless_their_scores_are_equal() -> None:
    leaves, scores = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[-1.0, -2.0, -2.00001, -5.0]])
    swapped = torch.tensor([[1, 3, 2, 9]])  # the last may have changed places with what is not among the best
    assert disagreement((swapped, scores), (leaves, scores))[0] == 0
    assert disagreement((torch.tensor([[2, 1, 3, 4]]), scores), (leaves, scores))[0] == 2
    assert disagreement((leaves, scores - 0.5), (leaves, scores))[1] == 0.5
