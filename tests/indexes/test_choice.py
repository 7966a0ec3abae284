from cmr_hub.indexes import INDEXES, choose_index


def test_small_galleries_are_searched_exactly():
    assert choose_index("real-valued", 10_000).name == "exact"
    assert choose_index("binary", 10_000_000).name == "hamming"


def test_large_ones_by_inverted_lists_and_it_says_why():
    choice = choose_index("real-valued", 4_000_000)
    assert choice.name == "faiss"
    assert "4,000,000 items, more than 1,000,000" in choice.reason


def test_without_faiss_it_says_so(monkeypatch):
    monkeypatch.setattr("cmr_hub.indexes.choice.find_spec", lambda name: None)
    choice = choose_index("real-valued", 4_000_000)
    assert choice.name == "exact"
    assert "not installed" in choice.reason


def test_what_it_names_exists():
    assert {choose_index("real-valued", 1).name, choose_index("binary", 1).name, "faiss"} <= set(INDEXES)
