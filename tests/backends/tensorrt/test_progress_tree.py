"""How far a build is, from nested phases as TensorRT reports them."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.backends.tensorrt.progress_tree import ProgressTree

NAMES = st.sampled_from(["build", "parse", "tune", "tune more"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), NAMES, st.none() | NAMES, st.integers(-1, 5)),
        st.tuples(st.just("step"), NAMES, st.integers(0, 9)),
        st.tuples(st.just("finish"), NAMES),
    ),
    max_size=40,
)


def test_a_phase_fills_one_step_of_its_parent():
    tree, seen = ProgressTree(), []

    tree.start("build", None, 4)
    tree.step("build", 0)
    seen.append(tree.fraction)
    tree.start("tune", "build", 2)
    tree.step("tune", 0)
    seen.append(tree.fraction)
    tree.finish("tune")
    tree.step("build", 1)
    seen.append(tree.fraction)
    tree.finish("build")

    assert [*seen, tree.fraction] == [0.25, 0.375, 0.5, 1.0]


@given(EVENTS)
def test_it_never_goes_back_and_never_beyond_the_end(events):
    tree, before = ProgressTree(), 0.0
    for kind, *arguments in events:
        getattr(tree, kind)(*arguments)
        assert before <= tree.fraction <= 1
        before = tree.fraction
