"""What may share a panel, and what may share a curve."""

from dataclasses import replace

from raising import raises

from irbench.core.description import Backbone
from irbench.core.errors import UsageError
from irbench.report.figures.selection import select
from irbench.results.schema import RecipeUsed


def labels(panel):
    return [group.label for group in panel.groups]


def test_other_images_protocols_and_crops_are_panels_of_their_own(shelf):
    facts = shelf.put("a").dataset
    shelf.put("b")
    others = [
        replace(facts, fingerprint="0" * 64),
        replace(facts, protocol="metric-learning"),
        replace(facts, crop="bbox"),
    ]
    for seed, other in enumerate(others, 1):
        shelf.put("a", dataset=other, seed=seed)
    panels = select(shelf.all).panels
    assert sorted(map(labels, panels)) == [["a"], ["a"], ["a"], ["a", "b"]]
    assert len({panel.subtitle for panel in panels}) == 4
    assert all(len({result.dataset for group in panel.groups for result in group.results}) == 1 for panel in panels)


def test_other_recipes_and_networks_are_curves_of_their_own(shelf):
    shelf.put("a", seed=0)
    shelf.put("a", seed=1)
    shelf.put("a", seed=2, recipe=RecipeUsed(text="epochs = 2", hash="b"))
    shelf.put("a", seed=3, backbone=Backbone(name="net", weights="hub: x", parameters=5))
    (panel,) = select(shelf.all).panels
    assert labels(panel) == ["a (seed 0, 1)", "a (seed 2)", "a (seed 3)"]
    assert len({group.look for group in panel.groups}) == 3
    assert any("several recipes or networks" in note for note in panel.notes)


def test_two_precisions_are_curves_of_their_own(shelf):
    for seed, precision in enumerate(("fp32", "bf16", "bf16")):
        shelf.put("a", seed=seed, environment={"precision": precision})
    (panel,) = select(shelf.all).panels
    assert sorted(labels(panel)) == ["a (bf16)", "a (fp32)"]
    assert "bf16 and fp32" in panel.subtitle


def test_a_scale_is_no_variant_and_two_scales_are_curves_of_their_own(shelf):
    shelf.put("w", variant="small", scale="small")
    shelf.put("w", variant="small,beam_size-1", scale="small")
    (panel,) = select(shelf.all, variants=lambda group: group.decodes_otherwise).panels
    assert labels(panel) == ["w", "w@beam_size-1"]
    for seed in (0, 1):
        shelf.put("w", seed=seed)
    (panel,) = select(shelf.all).panels
    assert sorted(labels(panel)) == ["w (small)", "w (tiny)"]
    assert len({group.look for group in panel.groups}) == 2
    (one,) = select(shelf.all, methods=["w@small"]).panels
    assert [group.results[0].scale for group in one.groups] == ["small"]


def test_shortened_results_and_incremental_galleries_are_reported(shelf):
    facts = shelf.put("a").dataset
    shelf.put("b", variant="epochs-1", shortened={"epochs": 1})
    shelf.put("a", variant="incremental", dataset=replace(facts, incremental=9, fingerprint="0" * 64))
    chosen = select(shelf.all)
    assert [labels(panel) for panel in chosen.panels] == [["a"]]
    assert chosen.notes == (
        "1 shortened results (partial evaluation or training) are left out: --shortened shows them",
        "toy-incremental: incremental gallery; --dataset draws it",
    )
    (grown,) = select(shelf.all, datasets=["toy-incremental"]).panels
    assert (grown.title, labels(grown)) == ("toy-incremental", ["a"])


def test_wishes_choose_cells_and_a_wrong_one_is_told(shelf):
    for search in ("linear", "scann"):
        shelf.put("a", search=search)
    for variant in (None, "hkm", "beam_size-1"):
        shelf.put("w", variant=variant)
    chosen = {
        ("a",): ["a+linear", "a+scann"],
        ("a+scann", "w"): ["a+scann", "w"],
        ("w@hkm",): ["w@hkm"],
        ("w@*",): ["w@beam_size-1", "w@hkm"],
        (): ["a+linear", "a+scann", "w"],
    }
    for options, expected in chosen.items():
        (panel,) = select(shelf.all, methods=options).panels
        assert labels(panel) == expected
    for wish in ("b", "w@hkn", "b*"):
        with raises(UsageError, "no-results", wish):
            select(shelf.all, methods=[wish])
    with raises(UsageError, "no-results", "tou", "'toy'"):
        select(shelf.all, datasets=["tou"])
