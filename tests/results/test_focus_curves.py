from cmr_hub.results.focus_curves import focus_curves, without_focus
from scored import score

SCORES = [
    *(score("a", "dscmr", 0.5), score("b", "dscmr", 0.3)),
    *(score("a", f"dscmr(focus={focus})", 0.6 - focus / 10) for focus in (1, 0, 0.25)),
    *(score("a", f"instance-tie-aware(at=(1, 5), focus={focus})", focus / 10) for focus in (0, 1)),
    score("b", "dscmr(focus=0)", 0.4),
]


def test_a_curve_is_of_one_checkpoint_and_protocol_in_the_order_of_the_focus():
    by_class, by_pair = focus_curves(SCORES)
    assert by_class.protocol.name == "dscmr"
    assert [(focus, score.measured.mean) for focus, score in by_class.scores.items()] == [
        *((0, 0.6), (0.25, 0.575), (1, 0.5)),
    ]
    assert (by_pair.protocol.name, by_pair.of.metric) == ("instance-tie-aware(at=(1, 5))", "mean_recall")
    assert {each.of.checkpoint for each in (by_class, by_pair)} == {"me/a"}


def test_scores_without_a_focus_stay_by_themselves():
    assert without_focus(SCORES) == SCORES[:2]


def test_a_protocol_of_another_version_has_no_focus():
    other = [score("a", "dscmr", description="elsewhere: …")]
    object.__setattr__(other[0], "protocol", "elsewhere(focus=0)")
    assert without_focus(other) == other
    assert focus_curves(other) == []
