"""How the report tells goals."""

from benchmark.goals import Goal
from benchmark.report import PEERS, unmet_list

MET = Goal("cnn-c1", "requests per second / peer", "> 1", "1.11 (1.07 to 1.15)", True, (1.07, 1.11, 1.15))
MISSED = Goal("mlp-c1", "requests per second / peer", "> 1", "0.87 (0.67 to 0.93)", False, (0.93, 0.67, 0.87))


def test_a_goal_that_is_not_met_is_told_with_what_each_round_found():
    said, rows = unmet_list([MET, MISSED])

    assert said == "Met: 1 of 2. Not met, with the values of the rounds:"
    assert rows == "* mlp-c1, requests per second / peer (> 1): 0.93, 0.67, 0.87"


def test_nothing_is_told_of_goals_that_are_met():
    assert unmet_list([MET]) == []


def test_the_native_echo_is_told_to_be_in_python():
    assert "event loop in Python" in PEERS
    assert "no echo in C++ alone" in PEERS
