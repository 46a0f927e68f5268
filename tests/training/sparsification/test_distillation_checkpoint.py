"""A distillation that was stopped does what it would have done."""

import copy
import signal

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import sma
from sma.training.interrupts import Terminated
from sma.training.run.errors import RunError
from sma.training.sparsification.distillation import Distillation, distill
from sma.training.sparsification.distillation_checkpoint import DistillationCheckpoint
from sma.training.sparsification.skipping_controls import skip_at_random
from sma.transformers import routed_parts


def tiny():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=30, tie_word_embeddings=True)
    return LlamaForCausalLM(config).eval()


def batches():
    generator = torch.Generator().manual_seed(1)
    while True:
        yield {"input_ids": torch.randint(3, 30, (4, 10), generator=generator)}


@pytest.mark.parametrize("weights", ["trained", "lora"])
@pytest.mark.parametrize("control", ["learned", "random"])
def test_it_resumes(weights, control, tmp_path):
    settings = Distillation(steps=6, weights=weights, lora_rank=2, learning_rate=1e-2)
    teacher = tiny()

    def made(checkpoint=None, stop=None):
        torch.manual_seed(3)  # of the adapters
        student, steps = sma.sparsify(copy.deepcopy(teacher), rate=0.5), []
        before_step = lambda progress: None  # noqa: E731
        if control == "random":
            before_step = skip_at_random(student, dict.fromkeys(routed_parts(student), 0.5))

        def listener(step):
            steps.append(step.step)
            if step.step == stop:
                raise KeyboardInterrupt

        options = {"before_step": before_step, "listener": listener, "checkpoint": checkpoint}
        return distill(student, teacher, batches(), settings, **options).state_dict(), steps

    whole, _ = made()
    checkpoint = DistillationCheckpoint(tmp_path / "last.safetensors", seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        made(checkpoint, stop=4)
    resumed, steps = made(checkpoint)
    assert steps == [4, 5, 6]
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_it_is_written_from_time_to_time_and_at_the_end(tmp_path):
    """So what is done with the model afterwards may be stopped as well."""
    teacher, settings = tiny(), Distillation(steps=2)
    found, steps = [], []
    for seconds in (300.0, 0.0):
        checkpoint = DistillationCheckpoint(tmp_path / f"{seconds}.safetensors", seconds=seconds)
        listener = lambda step: found.append(checkpoint.path.exists())  # noqa: B023, E731
        distill(sma.sparsify(tiny()), teacher, batches(), settings, listener=listener, checkpoint=checkpoint)
        assert checkpoint.path.exists()
    assert found == [False, False, False, True]
    distill(sma.sparsify(tiny()), teacher, batches(), settings, listener=steps.append, checkpoint=checkpoint)
    assert steps == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stop", [2, 4])
def test_signals_stop_after_the_step_with_a_checkpoint(number, stop, tmp_path, caplog):
    """Also the last step; what resumes has the result of what was not stopped."""
    teacher, settings = tiny(), Distillation(steps=4, learning_rate=1e-2)
    checkpoint = DistillationCheckpoint(tmp_path / "last.safetensors")

    def made(stop=None, **options):
        student, steps = sma.sparsify(copy.deepcopy(teacher), rate=0.5), []

        def listener(step):
            steps.append(step.step)
            if step.step == stop:
                signal.raise_signal(number)

        return distill(student, teacher, batches(), settings, listener=listener, **options), steps

    whole, _ = made()
    stopped = KeyboardInterrupt if number == signal.SIGINT else Terminated
    before = signal.getsignal(number)
    with pytest.raises(stopped, match=rf"^stopped after step {stop} of 4, which is kept in .*safetensors"):
        made(stop, checkpoint=checkpoint)
    assert signal.getsignal(number) is before
    assert "the distillation stops after this step and leaves a checkpoint" in caplog.text
    resumed, steps = made(checkpoint=checkpoint)
    assert steps == list(range(stop + 1, 5))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_damaged_file_and_that_of_another_model_are_refused(tmp_path):
    teacher, settings = tiny(), Distillation(steps=2)
    checkpoint = DistillationCheckpoint(tmp_path / "last.safetensors", seconds=0.0)
    distill(sma.sparsify(tiny()), teacher, batches(), settings, checkpoint=checkpoint)
    other = sma.sparsify(tiny(), parts=("attention",))
    with pytest.raises(RunError, match=r"does not hold this distillation .*; remove it to begin anew"):
        distill(other, teacher, batches(), settings, checkpoint=checkpoint)
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:-9])
    with pytest.raises(RunError, match=r"does not hold this distillation \(ValueError: .*; remove it"):
        distill(sma.sparsify(tiny()), teacher, batches(), settings, checkpoint=checkpoint)
