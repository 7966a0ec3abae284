"""A row of the results in the repository, trained anew from scratch by the command, agrees with what is stored.

Two machines agree to about 1e-3, since CPUs round differently; other versions of libraries to about 1e-2.
"""

import pytest

from cmr_hub.cli.main import main as cmr
from cmr_hub.results import list_results, read_results


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "methods"), [("emoji", ["cca"]), ("wiki", ["cca", "klsh"])])
def test_a_quick_row_of_the_results_comes_out_again(dataset, methods, request, tmp_path, caplog):
    stored = next(results for results in list_results() if results.dataset == dataset)
    command = ["reproduce", "--dataset", dataset, "--methods", *methods]
    command += ["--bits", "16", "--jobs", "1", "--check", "--output-dir", str(tmp_path)]
    if dataset != "emoji":
        command += ["--data-dir", str(request.getfixturevalue("real_data") / dataset)]
    with caplog.at_level("INFO"):
        status = cmr(command)
    known = {row.key: row for row in stored.table.rows}
    measured = read_results(tmp_path / "results.json").table.rows
    assert {row.method for row in measured} == set(methods)
    is_same_stack = all(known[row.key].versions == row.versions for row in measured)
    for row in measured:
        old = known[row.key]
        for protocol, spreads in row.metrics.items():
            primary = row.primary_metric(protocol)
            expected = pytest.approx(old.metrics[protocol][primary].mean, abs=1e-3 if is_same_stack else 1e-2)
            assert spreads[primary].mean == expected
    if is_same_stack:
        assert status == 0, caplog.text
        assert f"of {len(methods)} rows are within 0.001 of the repository's. The largest difference is" in caplog.text
