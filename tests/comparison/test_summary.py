"""Means, spreads and paired differences by hand; tables, and a page that says everything once."""

import csv

import numpy as np
import pytest

from drlhash_jax.comparison import comparison_config
from drlhash_jax.comparison.page import write_page
from drlhash_jax.comparison.settings import load_comparison
from drlhash_jax.comparison.summary import run_folder, summarise
from drlhash_jax.comparison.tables import write_tables
from drlhash_jax.config import default_config
from drlhash_jax.files import write_arrays

PRECISIONS = {
    ("drlhash", 0): [0.5, 0.7, 0.9],
    ("drlhash", 1): [0.3, 0.5, 0.7],
    ("csq", 0): [0.6, 0.7, 0.8],
    ("csq", 1): [0.5, 0.7, 0.9],
}


def finding(method, folder):
    rows = []
    for seed in (0, 1):
        values = np.array(PRECISIONS[method, seed], np.float32)
        each = {"hamming": values, "asymmetric": values + 0.05, "real": values + 0.1}
        write_arrays(run_folder(folder, "seen", method, 16, seed) / "rankings.npz", each)
        facts = {"table": "seen", "protocol": "balanced-1-2-rest", "bits": 16, "seed": seed, "seconds": 2.0 + seed}
        facts["map"] = {name: float(x.mean()) for name, x in each.items()}
        rows.append(facts | {"precision_radius2": 0.25 * seed})
    tried = [{"settings": {"csq": {"quantisation_weight": 0.5}}, "map": 0.625, "seconds": 1.0}]
    return {"name": method, "search": tried, "settings": tried[0]["settings"], "rows": rows, "peak_mib": 1234}


@pytest.fixture
def summary(tmp_path):
    config = comparison_config(default_config())
    config.compare.update({"methods": ("drlhash", "csq", "adsh"), "bits": (16,), "seeds": (0, 1)})
    found = [finding(name, tmp_path) for name in ("drlhash", "csq")]
    return summarise(load_comparison(config), tmp_path, [*found, {"name": "adsh", "failed": "too <few> rows"}])


def test_numbers_by_hand(summary):
    first, second = summary["rows"]
    # Means over queries .7 and .5, .7 and .7.
    np.testing.assert_allclose([first["map"]["hamming"], second["map"]["hamming"]], [0.6, 0.7], atol=1e-6)
    np.testing.assert_allclose([first["map_sd"]["hamming"], second["map_sd"]["hamming"]], [0.2 / 2**0.5, 0], atol=1e-6)
    np.testing.assert_allclose(second["map"]["real"], 0.8, atol=1e-6)
    assert "difference" not in first
    # Differences of the six queries: .1, 0, -.1, .2, .2, .2.
    np.testing.assert_allclose(second["difference"], 0.1, atol=1e-6)
    low, high = second["difference_interval"]
    assert -0.1 <= low < 0.1 < high <= 0.2
    assert (second["bytes"], second["seconds"], second["precision_radius2"]) == (2, 2.5, 0.125)


def test_queries_that_are_others_have_no_difference(summary, tmp_path):
    write_arrays(run_folder(tmp_path, "seen", "csq", 16, 1) / "rankings.npz", {"hamming": np.zeros(4, np.float32)})
    config = comparison_config(default_config())
    config.compare.update({"methods": ("csq",), "bits": (16,), "seeds": (0, 1)})
    other = {"name": "csq", "search": [], "settings": {}, "peak_mib": 1}
    rows = [
        {"table": "seen", "protocol": "p", "bits": 16, "seed": seed, "seconds": 1.0, "precision_radius2": 0.0}
        | {"map": {"hamming": 0.5, "asymmetric": 0.5, "real": 0.5}}
        for seed in (0, 1)
    ]
    found = summarise(load_comparison(config), tmp_path, [other | {"rows": rows}])
    assert "difference" not in found["rows"][0]


def test_tables_and_page(summary, tmp_path):
    markdown, table = write_tables(tmp_path, summary)
    text = markdown.read_text()
    assert "| csq | **0.700 ± 0.000** |" in text and "| drlhash | **0.600 ± 0.141** |" in text
    assert "+0.100 [" in text
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row["name"], float(row["map"]), row["bytes"]) for row in rows] == [
        ("drlhash", pytest.approx(0.6), "2"),
        ("csq", pytest.approx(0.7), "2"),
    ]
    page = write_page(tmp_path, summary).read_text()
    assert "Comparison of 2 methods" in page and "Mean ± sd over seeds 0, 1." in page
    assert "adsh: too &lt;few&gt; rows" in page
    assert "csq.quantisation_weight 0.5" in page
    assert "://" not in page
