"""Lines of noise: which runs are one, what they are called, what is lost, the plot."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfcausal.errors import InputError
from tfcausal.reports.plots import write_noise_plot
from tfcausal.reports.robustness import NoiseLine, noise_lines, settings_of
from tfcausal.schema.manifest import Manifest
from tfcausal.training.run import Run

LONG = "causerec " + " ".join(f"an_option_of_it={number}" for number in range(20))


def run(name: str, method: str = "causerec", splits: str = "a", **options: Any) -> Run:
    return Run(
        Path(name),
        method,
        Path("data"),
        {"seed": 0, "level": "item", "epochs": 10, **options},
        Manifest("run", inputs={"splits": splits}),
    )


def curve(*recalls: float) -> list[dict[str, float]]:
    points = [
        {"noise": place / 2, "recall@20": recall}
        for place, recall in enumerate(recalls)
    ]
    for point in points[1:]:
        point["concept_auc"] = 0.75
    return points


def test_runs_that_differ_by_their_seed_alone_are_one_line() -> None:
    first, second = run("first"), run("second", seed=1)
    base = run("base", level="none")
    others = (run("gru", "gru4rec"), run("elsewhere", splits="b", seed=2))
    assert settings_of([first, base, *others, second]) == [
        (first, second),
        (base,),
        *((other,) for other in others),
    ]
    with pytest.raises(InputError, match="first and again both have 0"):
        settings_of([first, second, run("again")])


def test_a_line_is_called_by_what_tells_it_from_others_of_its_method() -> None:
    groups = settings_of(
        [
            run("a"),
            run("b", seed=1),
            run("c", level="none", epochs=20),
            run("d", level="none", epochs=20, seed=1),
            run("e", "gru4rec", hidden_dim=8),
            run("f", "gru4rec", hidden_dim=8, seed=1),
            run("g", "mind"),
        ]
    )
    curves = {name: curve(0.5, 0.25) for name in "abcdefg"}
    assert [line.name for line in noise_lines(groups, curves)] == [
        "causerec level=item epochs=10, 2 seeds",
        "causerec level=none epochs=20, 2 seeds",
        "gru4rec, 2 seeds",
        "g",
    ]


def test_means_deviations_and_what_is_lost() -> None:
    groups = settings_of([run("a"), run("b", seed=1)])
    (line,) = noise_lines(groups, {"a": curve(0.5, 0.25), "b": curve(0.3, 0.15)})
    assert line.shares == [0, 0.5]
    np.testing.assert_allclose(line.mean("recall@20"), [0.4, 0.2])
    np.testing.assert_allclose(line.deviation("recall@20"), [0.1, 0.05])
    assert line.lost("recall@20") == pytest.approx(0.5)
    np.testing.assert_array_equal(line.mean("concept_auc"), [np.nan, 0.75])
    assert line.to_json() == {
        "name": "causerec, 2 seeds",
        "runs": ["a", "b"],
        "mean": [
            {"noise": 0, "recall@20": pytest.approx(0.4)},
            {"noise": 0.5, "recall@20": pytest.approx(0.2), "concept_auc": 0.75},
        ],
        "deviation": [
            {"noise": 0, "recall@20": pytest.approx(0.1)},
            {"noise": 0.5, "recall@20": pytest.approx(0.05), "concept_auc": 0},
        ],
    }
    nothing = NoiseLine("a", (run("a"),), (curve(0, 0),))
    assert np.isnan(nothing.lost("recall@20"))


def test_each_line_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import matplotlib.image as images

    lines = [
        NoiseLine(name, (run(name),), (curve(*recalls),))
        for name, recalls in (("one", (0.5, 0.4, 0.1)), (LONG, (0.3, 0.25, 0.2)))
    ]
    path = tmp_path / "new" / "noise.png"
    write_noise_plot(lines, "recall@20", "test", path)
    pixels = images.imread(path)[:, :, :3]
    for colour in ((0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)):
        near = np.abs(pixels - np.asarray(colour) / 255).max(axis=2) < 0.01
        assert near.sum() > 500
    # However long a name, the legend ends before the picture does.
    assert (pixels[:, [0, -1]] == 1).all()
