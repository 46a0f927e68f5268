"""Training by `accelerate launch` in two processes, against the same training in one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sma.transformers import SMAConfig, SMAForCausalLM

ROOT = Path(__file__).parents[4]
PROGRAM = """
import json, os, sys
import torch
from transformers import Trainer, TrainingArguments
from sma.transformers import SMAConfig, SMAForCausalLM

folder, spec = sys.argv[1:]
torch.manual_seed(0)
model = SMAForCausalLM(SMAConfig(spec=json.load(open(spec))))
rows = [{"input_ids": row, "labels": row} for row in torch.randint(97, 101, (12, 10))]
arguments = TrainingArguments(
    output_dir=folder, max_steps=3, report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no",
    optim="sgd", learning_rate=0.3, max_grad_norm=1e9, lr_scheduler_type="constant", logging_steps=1,
    per_device_train_batch_size=4 // int(os.environ.get("WORLD_SIZE", 1)),
    gradient_accumulation_steps=2, train_sampling_strategy="sequential",
)
trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows[:4])
trainer.train()
print(trainer.evaluate())
trainer.save_model(folder)
"""


@pytest.mark.slow
def test_two_processes_train_as_one(spec, tmp_path):
    program, values = tmp_path / "program.py", tmp_path / "spec.json"
    program.write_text(PROGRAM)
    values.write_text(spec.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_machines", "1", "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", "--num_processes", "2", "--main_process_port", "0"]
    for name, command in (("one", []), ("two", launch)):
        arguments = [sys.executable, *command, str(program), str(tmp_path / name), str(values)]
        done = subprocess.run(
            arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    torch.manual_seed(0)
    start = SMAForCausalLM(SMAConfig(spec=spec)).state_dict()
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert (tensor - two[name]).abs().max() < 1e-5, name
    assert any((tensor - start[name]).abs().max() > 1e-2 for name, tensor in one.items())
