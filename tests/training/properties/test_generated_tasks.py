"""ListOps, Pathfinder and the tasks with known needs, from a spec to batches, baselines and sections."""

import pytest
import torch

from sma.architectures import seqboat
from sma.training.tasks import TaskSpec
from sma.training.tasks.listops import ListOpsSpec
from sma.training.tasks.pathfinder import PathfinderSpec
from sma.training.tasks.recall import AssociativeRecallSpec, InductionHeadsSpec, SelectiveCopyingSpec
from sma.training.tasks.running import check_fit
from sma.training.tasks.task import IGNORED, Evaluation

SPLITS = {"n_training": 40, "n_validation": 10, "n_test": 12}
EVALUATION = Evaluation(0.0, 0.0, 1, 0.0, {})
KNOWN = {
    AssociativeRecallSpec(length=40, vocab_size=32, n_pairs=4, n_queries=4, n_evaluation=20): 32,
    SelectiveCopyingSpec(length=40, n_values=4, n_evaluation=20): 16,
    InductionHeadsSpec(length=40, n_evaluation=20): 16,
}


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def small(**options):
    return seqboat(d_model=8, n_layers=2, d_qk=4, window=4, d_state=2, **options).build()


@pytest.fixture(scope="module")
def listops():
    return ListOpsSpec(min_length=4, max_length=40, max_depth=4, **SPLITS).build()


@pytest.fixture(scope="module")
def pathfinder():
    return PathfinderSpec(side=16, **SPLITS).build()


def test_listops(listops):
    check_fit(small(vocab_size=15, n_classes=10), listops)
    batch = listops.training_batch(6, torch.Generator().manual_seed(0))
    assert batch.inputs.max() < 15
    operators = (batch.inputs >= 10) & (batch.inputs < 14)
    assert torch.equal(batch.roles == 1, operators)
    assert torch.equal(batch.roles == 2, batch.inputs == 14)
    assert [len(rows) for rows in listops.splits.values()] == [40, 10, 12]


def test_the_smallest_pathfinder_has_no_distractors():
    batch = PathfinderSpec(side=12, **SPLITS).build().training_batch(20, torch.Generator().manual_seed(0))
    assert batch.inputs.shape == (20, 144, 1)
    assert set(batch.roles.flatten().tolist()) == {0, 2, 3, 4}  # but for 1
    assert set(batch.targets.tolist()) == {0, 1}


def test_pathfinder(pathfinder):
    check_fit(small(d_input=1, n_classes=2), pathfinder)
    batch = pathfinder.training_batch(6, torch.Generator().manual_seed(0))
    assert batch.inputs.shape == (6, 256, 1)
    assert batch.inputs.max() == 1
    assert batch.roles.max() == 4


def test_generated_data_are_the_same_when_read_again(listops):
    again = ListOpsSpec(min_length=4, max_length=40, max_depth=4, **SPLITS).build()
    assert again.facts == listops.facts
    assert sum(name.startswith("SHA-256") for name in listops.facts) == 3


@pytest.mark.parametrize("name", ["listops", "pathfinder"])
def test_sections_of_rows(name, request):
    task = request.getfixturevalue(name)
    model = small(vocab_size=15, n_classes=10) if name == "listops" else small(d_input=1, n_classes=2)
    confusions, examples = task.sections(model, EVALUATION)
    assert "12 held-out" in confusions.body
    assert confusions.images[0].png.startswith(b"\x89PNG")
    assert "Where the model activates" in examples.title


@pytest.mark.parametrize("spec", KNOWN, ids=lambda spec: spec.kind)
def test_known_needs(spec):
    task = spec.build()
    model = small(vocab_size=KNOWN[spec])
    check_fit(model, task)
    batches = list(task.evaluation_batches("test", 7))
    assert [len(batch.inputs) for batch in batches] == [7, 7, 6]
    again = torch.cat([batch.inputs for batch in task.evaluation_batches("test", 20)])
    assert torch.equal(torch.cat([batch.inputs for batch in batches]), again)
    validation = next(task.evaluation_batches("validation", 7))
    assert not torch.equal(validation.inputs, batches[0].inputs)
    assert batches[0].needs[batches[0].targets != IGNORED].all()
    (section,) = task.sections(model, EVALUATION)
    assert section.body.count("<tr><td>layer") == 2


def test_agreement_with_known_needs_is_counted():
    spec = AssociativeRecallSpec(length=40, vocab_size=32, n_pairs=4, n_queries=4, n_evaluation=20)
    task, model = spec.build(), small(vocab_size=32)
    for block in model.blocks:
        (layer,) = (module for module in block.modules() if hasattr(module, "router"))
        torch.nn.init.zeros_(layer.router.projection.weight)
        with torch.no_grad():
            layer.router.projection.bias.fill_(1.0).view(-1)[::2] = -1.0  # every element activates
    (section,) = task.sections(model, EVALUATION)
    assert (
        "".join(f'<td class="number">{share}%</td>' for share in ("100.0", "20.0", "100.0")) in section.body
    )


def test_a_needs_spec_without_room_is_refused():
    with pytest.raises(ValueError, match="n_queries"):
        AssociativeRecallSpec(n_pairs=2, n_queries=3)


def test_all_are_registered():
    from sma.spec.registry import kinds

    wanted = {"listops", "pathfinder", "associative_recall", "selective_copying", "induction_heads"}
    assert wanted <= set(kinds(TaskSpec))
