import numpy as np

from ich.evaluation.inspection.examples import KINDS, choose


def test_examples_mix_the_outcomes_and_are_what_they_are_called():
    rng = np.random.default_rng(0)
    truth, called = rng.random(200) < 0.5, rng.random(200) < 0.5
    chosen = choose(truth, called, np.arange(200).astype(str), 24, seed=1)
    assert [example.kind for example in chosen] == [kind for kind in KINDS for _ in range(6)]
    assert all(truth[row] == (kind in KINDS[:2]) and called[row] == ("e positive" in kind) for row, kind in chosen)
    assert chosen == choose(truth, called, np.arange(200).astype(str), 24, seed=1)
    assert chosen != choose(truth, called, np.arange(200).astype(str), 24, seed=2)


def test_a_rare_outcome_leaves_its_room_to_the_others_and_few_slices_give_few_examples():
    truth = np.array([1, 0, 0, 0, 0], bool)
    assert [kind for _, kind in choose(truth, truth, np.array(list("abcde")), 4, 0)] == [KINDS[0]] + [KINDS[3]] * 3
    assert len(choose(truth, truth, np.array(list("abcde")), 99, 0)) == 5
    assert choose(truth, truth, np.array(list("abcde")), 0, 0) == []


def test_every_patient_comes_once_before_any_comes_twice():
    patients = np.repeat(np.array(["a", "b", "c", "d"]), [50, 2, 2, 2])
    truth = np.ones(56, bool)
    for seed in range(5):
        chosen = choose(truth, truth, patients, 4, seed)
        assert sorted(patients[row] for row, _ in chosen) == ["a", "b", "c", "d"]
