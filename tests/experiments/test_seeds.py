from cmr_hub.experiments.seeds import summarise
from cmr_hub.training.run import TrainingRun


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
