from cmr_hub.results.markdown import results_markdown
from small_results import small_results


def test_what_is_missing_and_the_protocols_are_two_lists():
    text = results_markdown(small_results())
    assert text.startswith("## wiki, test split\n\nPairs: 2,173 train, 693 test (the whole data set). Made by `cmr")
    assert "Not measured:\n\n- DAN: it eats <regions>\n\nProtocols:\n\n- dscmr: mAP@all" in text
    assert ".\n\nProtocols:\n\n- dscmr: " in results_markdown(small_results(not_measured=[]))
