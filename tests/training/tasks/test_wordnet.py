import os

import pytest
import torch

from sma.training.tasks.graphs import WordNetSpec
from sma.training.tasks.wordnet import Synset, parse, read_wordnet, token_codes

LICENCE = "  1 This software and database is being provided to you, the LICENSEE, by  \n"
FILES = {
    "data.noun": LICENCE
    + "00000010 03 n 01 thing 0 001 ~ 00000020 n 0000 | that which is  \n"
    + "00000020 13 n 02 black_bread 0 rye 1 002 @ 00000010 n 0000 + 00000030 v 0101 | dark; 'a loaf'  \n",
    "data.verb": LICENCE + "00000030 30 v 01 bake 0 001 + 00000020 n 0101 02 + 08 00 + 15 00 | cook it  \n",
    "data.adj": LICENCE
    + "00000040 00 a 01 dark(a) 0 001 & 00000050 a 0000 | without light  \n"
    + "00000050 00 s 01 dim 0 002 & 00000040 a 0000 \\ 00000010 n 0101 | hardly any  \n",
    "data.adv": LICENCE + "00000060 02 r 01 dimly 0 000 | in a dim way  \n",
}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def test_parse():
    synsets = list(parse(FILES["data.noun"], "n"))
    assert synsets[1] == Synset(
        "n00000020", 13, ("black_bread", "rye"), ("n00000010", "v00000030"), "dark; 'a loaf'"
    )
    (verb,) = parse(FILES["data.verb"], "v")
    assert verb.pointers == ("n00000020",)


def test_reads_a_graph(folder):
    graph = read_wordnet(folder, vocab_size=1000, n_tokens=40)
    assert graph.keys == ("n00000010", "n00000020", "v00000030", "a00000040", "a00000050", "r00000060")
    assert graph.names == ("thing", "black bread", "bake", "dark", "dim", "dimly")
    assert graph.classes.tolist() == [3, 13, 30, 0, 0, 2]
    edges = [tuple(pair) for pair in graph.edge_index.T.tolist()]
    assert edges == sorted([(0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3), (4, 0), (0, 4)])
    assert graph.tokens.dtype == torch.int32
    assert graph.tokens.max() < 1000
    filled = graph.tokens > 0
    assert (filled == filled.cummin(1).values).all()  # tokens come first, then zeros
    assert filled.any(1).all()


def test_keeps_the_first_tokens(folder):
    whole = read_wordnet(folder, vocab_size=1000, n_tokens=40).tokens
    assert torch.equal(read_wordnet(folder, vocab_size=1000, n_tokens=3).tokens, whole[:, :3])


def test_tokens_tell_words_not_classes():
    synset = Synset("n1", 3, ("black_bread",), (), "Dark bread")
    other = Synset("v9", 30, ("black_bread",), ("n1",), "Dark bread")
    codes = token_codes(synset)
    assert codes == token_codes(other)
    ngrams = sum(len(word) + 2 - n + 1 for word in ("black", "bread") for n in (3, 4))
    assert len(codes) == len(set(codes)) == 2 + 2 + ngrams


def test_says_what_to_install(tmp_path):
    with pytest.raises(ValueError, match=r"data\.noun is missing; .*apt-get install wordnet-base"):
        WordNetSpec(folder=str(tmp_path)).build()


def test_task(folder):
    task = WordNetSpec(folder=str(folder), vocab_size=1000).build()
    assert task.n_classes == 45
    assert [task.graph.class_names[i] for i in (0, 3, 13, 30, 44)] == [
        "adj.all",
        "noun.Tops",
        "noun.food",
        "verb.change",
        "adj.ppl",
    ]
    nodes = torch.cat(list(task.splits.values()))
    assert sorted(nodes.tolist()) == list(range(6))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.verb", "", r"damaged or of several versions"),  # that nouns point to
        ("data.adv", "00000060 45 r 01 dimly 0 000 | of a class too many", r"damaged or of several versions"),
        ("data.adv", "00000060 02 r 00 000 | without a word", r"damaged or of several versions"),
        ("data.adv", "00000060 02 r 01", r"data.adv is not a database file of WordNet"),
        ("data.adv", "\0" * 100, r"data.adv is not a database file of WordNet"),
    ],
)
def test_damaged_files_are_named(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_wordnet(folder, vocab_size=1000, n_tokens=40)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder):
    (folder / "data.noun").unlink()
    os.mkfifo(folder / "data.noun")
    with pytest.raises(ValueError, match=r"data.noun is a pipe, not a file"):
        read_wordnet(folder, vocab_size=1000, n_tokens=40)
