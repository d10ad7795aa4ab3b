"""`irbench show identifiers`: what is found without a decoder, and what a stored result adds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irbench.experiments.diagnose import Examined
from irbench.report.diagnostics import render


def report(length: int = 2, **changes: object) -> dict[str, object]:
    positions = [float(m) for m in range(length)]
    made = {
        "images": 12, "num_codebooks": length, "codebook_size": 4, "in_use": 6,
        "images_each": {"mean": 2.0, "max": 3, "histogram": {"2": 6}},
        "codes_used": list(range(length)), "entropy_bits": positions, "cluster_purity": positions,
        "oracle_precision": {"precision@1": 1.0, "precision@10": 0.25}, "entropy_lower_bound": 0.5,
    }  # fmt: skip
    return {**made, **changes}


def examined(identifier: str, **changes: object) -> Examined:
    return Examined(identifier=identifier, dataset="toy", scale="tiny", seed=0, **changes)


def test_columns_are_kinds_and_rows_are_figures_aligned() -> None:
    text = render(
        [
            examined("short", before=report()),
            examined(
                "long-name",
                before=report(length=20),
                after=report(valid_identifier_rate=0.5),
                precision={"precision@1": 1},
                loss=0.75,
            ),
            examined("none", reason="no weights"),
        ]
    )
    lines = text.splitlines()
    head = next(line for line in lines if "short" in line)
    table = lines[lines.index(head) : lines.index("", lines.index(head))]
    assert len({line.rstrip()[-1:] and len(line) for line in table}) == 1  # the last column ends where its name ends
    row = {line[: line.index("  ")]: line.split()[-2:] for line in table[1:]}
    assert row["codebooks x size"] == ["x", "4"]
    assert row["cluster purity 2"] == ["1.000", "1.000"]
    assert row["cluster purity 16"] == ["16", "15.000"]  # the short one has no such row
    assert "cluster purity 9" not in row
    assert row["oracle precision@10"] == ["0.250", "0.250"]
    assert row["reached precision@1"] == ["—", "1.000"]
    assert row["entropy lower bound"] == ["0.500", "0.500"]
    assert row["loss reached"] == ["—", "0.750"]
    assert row["loss above the bound"] == ["—", "5.000"]
    assert row["valid-identifier rate"] == ["—", "0.500"]
    assert "other code or recipes than these: the stored decoder of long-name" in text
    assert "none: no weights" in text


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of six pictures, dark ones and bright ones, of which the two last of each are asked about."""
    rng = np.random.default_rng(0)
    lines = ["path,label,split"]
    for label, brightness in (("dark", 0), ("bright", 150)):
        (tmp_path / label).mkdir()
        for number in range(6):
            name = f"{label}/{number}.png"
            Image.fromarray(rng.integers(brightness, brightness + 80, (32, 32, 3), dtype=np.uint8)).save(
                tmp_path / name
            )
            lines.append(f"{name},{label},{'gallery' if number < 4 else 'query'}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "list.csv"


@pytest.mark.slow
def test_a_stored_result_says_what_its_decoder_made_of_the_identifiers(irbench: Callable, photos: Path) -> None:
    show = ("show", "identifiers", "--dataset", str(photos), "--identifier", "random", "--scale", "tiny", "--json")

    def shown() -> dict[str, object]:
        done = irbench(*show)
        assert done.returncode == 0, done.stderr
        (found,) = json.loads(done.stdout)
        return found

    before = shown()
    assert before["after"] is None
    assert before["before"]["images"] == 8
    assert before["before"]["oracle_precision"]["precision@4"] == 1.0
    done = irbench(
        "run", "-m", "irgen", "--identifier", "random", "--dataset", str(photos), "--scale", "tiny", "--json"
    )
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    after = shown()
    assert after["current"] is True
    assert after["after"] == result["retriever"]["identifiers"]
    assert {key: after["after"][key] for key in before["before"]} == before["before"]
    assert 0 <= after["after"]["valid_identifier_rate"] <= 1
    assert after["loss"] == result["retriever"]["training"]["irgen"]["loss"][-1]
    assert after["precision"]["precision@1"] == result["metrics"]["precision@1"]["mean"]
    for name, reached in after["precision"].items():
        assert reached <= before["before"]["oracle_precision"][name] + 1e-9
