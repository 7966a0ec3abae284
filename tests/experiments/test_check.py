"""A row of the results in the repository, trained anew from scratch by the command, is the same to the last digit.

With other versions of libraries than it was made with, it may be rounded otherwise, and comes out nearly the same.
"""

import subprocess
import sys

import pytest

from cmr_hub.results import list_results, read_results


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "methods"), [("emoji", ["cca"]), ("wiki", ["cca", "klsh"])])
def test_a_quick_row_of_the_results_comes_out_again(dataset, methods, request, tmp_path):
    stored = next(results for results in list_results() if results.dataset == dataset)
    command = [sys.executable, "-m", "training", "reproduce", "--dataset", dataset, "--methods", *methods]
    command += ["--bits", "16", "--jobs", "1", "--check", "--output-dir", str(tmp_path)]
    if dataset != "emoji":
        command += ["--data-dir", str(request.getfixturevalue("real_data") / dataset)]
    done = subprocess.run(command, capture_output=True, text=True)
    kept = {(row.method, row.bits): row for row in stored.table.rows}
    measured = read_results(tmp_path / "results.json").table.rows
    assert {row.method for row in measured} == set(methods)
    for row in measured:
        old = kept[row.method, row.bits]
        if old.versions == row.versions:
            assert row.metrics == old.metrics
        for protocol, spreads in row.metrics.items():
            primary = "map" if "map" in spreads else "mean_recall"
            assert spreads[primary].mean == pytest.approx(old.metrics[protocol][primary].mean, abs=0.01)
    if all(kept[row.method, row.bits].versions == row.versions for row in measured):
        assert done.returncode == 0, done.stderr
        assert f"of {len(methods)} rows are those of the repository." in done.stderr
