import yaml

from sma.architectures import graph_network, parse_spec
from sma.transformers import CardFacts, model_card
from sma.transformers.cards import write_card

FACTS = CardFacts(
    title="books | tales",
    data={"files": "3"},
    figures={"test bits per byte": "1.754"},
    activation_rates={"blocks.0.branches.1": [0.25, 1.0]},
    versions={"torch": "2"},
)


def test_a_card_says_what_is_known(spec):
    card = model_card(spec, FACTS, wrapper="SMAForCausalLM")
    _, fields, text = card.split("---\n", 2)
    assert yaml.safe_load(fields) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["sparse-modular-activation"],
    }
    assert "# Trained on books | tales" in text
    for row in ("| files | 3 |", "| test bits per byte | 1.754 |", "| blocks.0.branches.1 | 25.0%, 100.0% |"):
        assert row in text
    assert "AutoModelForCausalLM.from_pretrained(" in text
    code = text.partition("```yaml\n")[2].partition("```")[0]
    assert parse_spec(yaml.safe_load(code)) == spec


def test_a_card_without_facts_has_no_empty_sections(spec):
    card = model_card(spec)
    assert "library_name: sma\n" in card
    assert "hub.load(" in card
    assert [line for line in card.splitlines() if line.startswith("## ")] == ["## How to load it", "## Spec"]
    assert "A graph_model of sma" in model_card(graph_network(d_model=8, n_layers=1, d_input=2, n_classes=2))


def test_cells_stay_in_their_row(spec):
    card = model_card(spec, CardFacts(title="x", data={"a|b": "first\nsecond"}))
    assert "| a\\|b | first second |" in card


def test_a_file_of_ones_own_stays_without_facts(spec, tmp_path):
    write_card(tmp_path, spec)
    first = (tmp_path / "README.md").read_text()
    write_card(tmp_path, spec, wrapper="SMAForCausalLM")
    assert (tmp_path / "README.md").read_text() == first
    write_card(tmp_path, spec, FACTS)
    assert (tmp_path / "README.md").read_text() == model_card(spec, FACTS)
