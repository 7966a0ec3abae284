"""A row of the results in the repository, trained anew from scratch by the command, is the same to the last digit."""

import subprocess
import sys

import pytest

from cmr_hub.results import list_results
from training.train import versions


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "methods"), [("emoji", ["cca"]), ("wiki", ["cca", "klsh"])])
def test_a_quick_row_of_the_results_comes_out_again(dataset, methods, request, tmp_path):
    stored = next(results for results in list_results() if results.dataset == dataset)
    here = versions()
    for row in stored.table.rows:
        if row.method in methods and row.versions != {name: [version] for name, version in here.items()}:
            pytest.skip(f"the results are of other versions ({row.versions}) than those here ({here})")
    command = [sys.executable, "-m", "training", "reproduce", "--dataset", dataset, "--methods", *methods]
    command += ["--bits", "16", "--jobs", "1", "--check", "--output-dir", str(tmp_path)]
    if dataset != "emoji":
        command += ["--data-dir", str(request.getfixturevalue("real_data") / dataset)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"of {len(methods)} rows are those of the repository." in done.stderr
