from cmr_hub.evaluation import MeanStd, decimals


def test_spreads_as_tables_have_them():
    assert (decimals(0.2864), decimals(1.0)) == (".286", "1.000")
    assert str(MeanStd.of([0.5, 0.6, 0.7])) == ".600 ± .100"
    assert str(MeanStd.of([0.5])) == ".500"
