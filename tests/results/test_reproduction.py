from small_results import small_results


def test_what_is_missing_and_the_protocols_are_two_lists():
    text = small_results().markdown()
    assert text.startswith("## wiki, test split\n\nPairs: 2,173 train, 693 test (the whole data set). Made by `python")
    assert "Not measured:\n\n- DAN: it eats <regions>\n\nProtocols:\n\n- dscmr: mAP@all" in text
    assert ".\n\nProtocols:\n\n- dscmr: " in small_results(not_measured=[]).markdown()
