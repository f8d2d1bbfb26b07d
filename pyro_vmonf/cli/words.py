"""Messages of the library in the words of the command line."""

__all__ = ["in_words_of_the_shell"]

OPTIONS = {"clusters", "columns", "device", "ignore", "label_column", "seed"}
WORDS = {"x": "the rows", "path": "--out"} | {name: f"--{name.replace('_', '-')}" for name in OPTIONS}
PHRASES = {
    "clusters='modes' or 'components' chooses": "--clusters modes or --clusters components chooses",
    "there may be more": "there may be more: raise --most",
    "n_components": "components",
}


def in_words_of_the_shell(text: str) -> str:
    """Returns a message that names arguments with the options in their place."""
    for phrase, words in PHRASES.items():
        text = text.replace(phrase, words)
    name, _, rest = text.partition(":")
    return f"{WORDS[name]}:{rest}" if name in WORDS else text
