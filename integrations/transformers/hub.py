"""Models of every kind on the Hugging Face Hub: saved with a model card, loaded and pushed."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import HfApi, snapshot_download

from sma.architectures.files.folders import SPEC_FILE, WEIGHTS_FILE, load_model, save_model
from sma.architectures.models.base import Model
from sma.transformers.cards import CARD_FILE, CardFacts, write_card
from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME


def save(model: Model, folder: str | Path, *, card: CardFacts | None = None) -> None:
    """Write a model to a folder, as `sma.architectures.save_model` does, with a model card.

    Args:
        model: of any kind: of sequences, of graphs, or another package's.
        folder: where `spec.json`, `model.safetensors` and README.md go.
        card: what README.md says of the model's training. Without it a README.md that is there stays.

    Raises:
        ValueError: if the files could not give the model back, or the model is a transformers class.

    Example:
        >>> import tempfile
        >>> from sma.architectures import seqboat
        >>> folder = tempfile.mkdtemp()
        >>> save(seqboat(vocab_size=9, d_model=16, n_layers=1).build(), folder)
        >>> load(folder).spec.d_model
        16
    """
    if isinstance(model, PreTrainedModel):
        raise ValueError(
            f"model is a transformers class, {type(model).__name__}; call its own save_pretrained or "
            "push_to_hub, or pass model.model"
        )
    save_model(model, folder)
    write_card(Path(folder), model.spec, card)


def load(name: str | Path, *, revision: str | None = None, **options: Any) -> Model:
    """The model in a folder, or in a repository of the Hub, in evaluation mode.

    Args:
        name: path of a folder, or the name of a repository, such as `"user/model"`.
        revision: of the repository: a branch, a tag or a commit.
        options: of `huggingface_hub.snapshot_download`, such as `token` or `cache_dir`.

    Raises:
        ValueError: if a file is damaged, the weights belong to another spec, or a model of a transformers
            class is there.
        FileNotFoundError: if a file is missing.
    """
    folder = Path(name)
    if not folder.is_dir():
        patterns = [SPEC_FILE, WEIGHTS_FILE, CONFIG_NAME]
        folder = Path(snapshot_download(str(name), revision=revision, allow_patterns=patterns, **options))
    if (folder / CONFIG_NAME).exists() and not (folder / SPEC_FILE).exists():
        raise ValueError(
            f"{name} has a config.json of transformers; load it with an Auto class, such as "
            "AutoModelForCausalLM.from_pretrained"
        )
    return load_model(folder)


def push(model: Model, repo_id: str, *, card: CardFacts | None = None, **options: Any) -> Any:
    """Save a model to a repository of the Hub, which is made if there is none.

    Args:
        model: of any kind.
        repo_id: such as `"user/model"`.
        card: what README.md says of the model's training. Without it a README.md that is there stays.
        options: see `upload`.

    Returns:
        `huggingface_hub.CommitInfo`.
    """
    return upload(
        lambda folder: save(model, folder, card=card), repo_id, new_card=card is not None, **options
    )


def upload(
    save: Callable[[Path], object],
    repo_id: str,
    *,
    new_card: bool = False,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    commit_message: str | None = None,
    commit_description: str | None = None,
) -> Any:
    """Upload what a function writes into a folder.

    Args:
        save: called with the folder.
        repo_id: of the repository, which is made if there is none.
        new_card: replace a README.md that is there.
        token: of the Hub; by default the one of `hf auth login`.
        private: whether a new repository is.
        revision: the branch; by default main.
        create_pr: as a pull request.
        commit_message: first line of the commit.
        commit_description: the rest of it.

    Returns:
        `huggingface_hub.CommitInfo`.
    """
    api = HfApi(token=token)
    with TemporaryDirectory() as folder:
        save(Path(folder))
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        keep = not new_card and api.file_exists(repo_id, CARD_FILE, revision=revision)
        return api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            ignore_patterns=[CARD_FILE] if keep else None,
            revision=revision,
            create_pr=create_pr,
            commit_message=commit_message or "Upload model",
            commit_description=commit_description,
        )
