import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpa_data.errors import InputError
from hpa_data.format.layout import Layout, plan_shards

SHAPE = (512, 512, 4)


@given(n_samples=st.integers(1, 5000), shard_samples=st.integers(1, 200))
def test_the_plan_covers_each_sample_once_and_each_task_is_a_whole_shard(n_samples: int, shard_samples: int) -> None:
    layout = Layout(n_samples=n_samples, image_shape=SHAPE, shard_samples=shard_samples)
    plan = plan_shards(layout)
    assert len(plan) == layout.n_shards
    assert [i for task in plan for i in range(task.start, task.stop)] == list(range(n_samples))
    for task in plan:
        assert task.start == task.shard * shard_samples
        assert task.stop - task.start == shard_samples or task.stop == n_samples


def test_a_plan_of_some_shards_holds_these_alone_in_order() -> None:
    plan = plan_shards(Layout(n_samples=200, image_shape=SHAPE), shards=[3, 1, 3])
    assert [(task.shard, task.start, task.stop) for task in plan] == [(1, 64, 128), (3, 192, 200)]


def test_the_real_training_set_is_a_few_hundred_shards() -> None:
    assert Layout(n_samples=31_072, image_shape=SHAPE).n_shards == 486


@pytest.mark.parametrize(("n_samples", "shard_samples", "name"), [(0, 64, "n_samples"), (5, 0, "shard_samples")])
def test_sizes_below_one_are_refused(n_samples: int, shard_samples: int, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} must be from 1 to"):
        Layout(n_samples=n_samples, image_shape=SHAPE, shard_samples=shard_samples)
