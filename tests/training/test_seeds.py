from training.seeds import Spread, decimals, summarise
from training.train import TrainingRun


def test_mean_and_deviation():
    runs = [
        TrainingRun(
            "dscmr",
            "toy",
            seed,
            "",
            {},
            {},
            results=[{"description": "a protocol", "split": "test", "metrics": {"map": value}}],
        )
        for seed, value in enumerate((0.5, 0.6, 0.7))
    ]
    assert summarise(runs).splitlines() == [
        "a protocol",
        "test split, seeds 0, 1, 2",
        "map                      0.6000 ± 0.1000",
    ]


def test_spreads_as_tables_have_them():
    assert (decimals(0.2864), decimals(1.0)) == (".286", "1.000")
    assert str(Spread.of([0.5, 0.6, 0.7])) == ".600 ± .100"
    assert str(Spread.of([0.5])) == ".500"
