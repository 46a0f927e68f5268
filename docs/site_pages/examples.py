"""The files of examples/ as Markdown."""

from pathlib import Path

_ROOT = Path(__file__).parents[2]
_LANGUAGES = {".yaml": "yaml", ".py": "python", ".toml": "toml"}


def page(folder: str = "examples") -> str:
    """Every YAML file and program of a folder, with its name above it."""
    paths = sorted(path for path in (_ROOT / folder).iterdir() if path.suffix in _LANGUAGES)
    return "\n\n".join(
        f"### {path.name}\n\n```{_LANGUAGES[path.suffix]}\n{path.read_text(encoding='utf-8')}```"
        for path in paths
    )
