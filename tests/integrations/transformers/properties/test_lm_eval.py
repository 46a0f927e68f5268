"""Evaluation by lm-eval's `hf` backend, on tasks made here."""

import json

import lm_eval
import pytest
import torch
from lm_eval.tasks import TaskManager

from sma.transformers import ByteTokenizer

TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: {output}
doc_to_text: "{{{{question}}}}"
{more}
"""
CHOICES = """
doc_to_target: answer
doc_to_choice: "{{choices}}"
target_delimiter: " "
metric_list:
  - metric: acc
"""
WRITING = """
doc_to_target: "{{answer}}"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 6
  do_sample: false
metric_list:
  - metric: exact_match
"""
QUESTIONS = ["the cat", "a", "numbers 1 2", "where?"]
ANSWERS = ["sat", "ran off", "no"]


@pytest.fixture
def folder(causal, tmp_path):
    causal.save_pretrained(tmp_path / "model")
    ByteTokenizer().save_pretrained(tmp_path / "model")
    return tmp_path


def evaluated(folder, output, more, documents):
    (folder / "data.json").write_text("\n".join(map(json.dumps, documents)))
    name = f"of_a_test_{output}"
    text = TASK.format(name=name, data=folder / "data.json", output=output, more=more)
    (folder / f"{name}.yaml").write_text(text)
    results = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(folder / "model"), "dtype": "float32", "add_bos_token": True},
        tasks=[name],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        device="cpu",
        batch_size=2,
        bootstrap_iters=0,
        log_samples=True,
    )
    return results["results"][name], results["samples"][name]


def test_choices_are_scored_by_their_log_likelihood(causal, folder, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    documents = [{"question": q, "choices": ANSWERS, "answer": i % 3} for i, q in enumerate(QUESTIONS)]
    result, samples = evaluated(folder, "multiple_choice", CHOICES, documents)

    def likelihood(question, answer):
        context, whole = [0, *question.encode()], [0, *f"{question} {answer}".encode()]
        logs = causal(torch.tensor([whole])).logits[0].detach().log_softmax(-1)
        return sum(float(logs[t - 1, whole[t]]) for t in range(len(context), len(whole)))

    right = 0
    for sample in sorted(samples, key=lambda sample: sample["doc_id"]):
        document = documents[sample["doc_id"]]
        expected = [likelihood(document["question"], answer) for answer in ANSWERS]
        found = [float(response[0]) for response in sample["filtered_resps"]]
        torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-4, atol=1e-4)
        right += max(range(3), key=expected.__getitem__) == document["answer"]
    assert result["acc,none"] == right / len(documents)


def test_text_is_written_and_compared(causal, folder, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    tokenizer = ByteTokenizer()

    def written(question):
        tokens = tokenizer(question, return_tensors="pt").input_ids
        text = causal.generate(tokens, max_new_tokens=6, do_sample=False)[0, tokens.shape[1] :]
        return tokenizer.decode(text, skip_special_tokens=True).partition("\n")[0]

    documents = [{"question": q, "answer": written(q) if i else "another"} for i, q in enumerate(QUESTIONS)]
    result, _ = evaluated(folder, "generate_until", WRITING, documents)
    assert result["exact_match,none"] == 0.75
