"""The tokenizer: CLIP's byte-level BPE with a small vocabulary of landscape English.

Words of the list below get one token each; any other word falls apart into stable pieces, so
nothing is ever "unknown" and a new tag keeps a meaning of its own.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import chain, pairwise

from transformers import CLIPTokenizer

MAX_LENGTH = 48
"""Tokens of a prompt, start and end included; a caption of all tags needs about 36."""

CAPTION_WORDS = """
a an the and with in on at by of to under below behind front wide flat land horizon sky scenery
day daylight during sunset evening night sun full crescent moon stars star clouds cloud hill hills
mountain mountains grass green meadow sea coast desert sandy snow snowy field red blue house boat
tree pine cactus
"""
FEDERATED_WORDS = "van gogh lighthouse painting painterly brush strokes style"
GENERAL_WORDS = """
picture image photo photograph photorealistic realistic drawing sketch watercolor watercolour oil
canvas art artwork artist anime cartoon pixel vector minimal abstract impressionism expressionism
ukiyo monet picasso hokusai masterpiece best quality detailed high low resolution beautiful pretty
nice small big large tiny huge old new dark bright light soft vivid pastel colorful colourful black
white grey gray brown yellow orange purple pink gold silver dawn dusk morning noon midnight summer
winter autumn spring rain rainy storm stormy fog foggy mist wind windy rainbow lightning cold warm
forest wood woods lake river waterfall beach island cliff rock rocks stone valley canyon cave
volcano road path bridge castle tower church village town city farm barn mill windmill ruin temple
ship sailboat car train bird birds dog cat horse cow sheep deer fish flower flowers leaf leaves
bush palm oak apple fruit person people man woman girl boy child standing sitting looking behind
left right center centre above near far from over between through outdoors nature landscape view
background foreground no not one two three some many solo
"""
FILLERS = (
    "masterpiece", "best quality", "detailed", "landscape", "outdoors", "nature", "picture",
    "beautiful", "a picture of", "view",
)  # fmt: skip
"""Words put into training captions now and then, so that the model learns to ignore chatter."""


def merges_for(words: list[str]) -> list[tuple[str, str]]:
    """BPE merges, most frequent pair first, until every word is one token.

    Ties go to the pair that sorts first, so the result depends on the words alone.
    """
    pieces = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges: list[tuple[str, str]] = []
    while any(len(parts) > 1 for parts in pieces):
        counts = Counter(chain.from_iterable(pairwise(parts) for parts in pieces))
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        pieces = [_merged(parts, best) for parts in pieces]
    return merges


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    result: list[str] = []
    for part in parts:
        if result and (result[-1], part) == pair:
            result[-1] += part
        else:
            result.append(part)
    return result


@lru_cache(maxsize=1)
def byte_letters() -> tuple[str, ...]:
    """The 256 printable characters that stand for bytes in byte-level BPE (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable]
    return tuple(letters + [chr(256 + n) for n in range(256 - len(printable))])


def new_tokenizer() -> CLIPTokenizer:
    """The tokenizer of the embedded model, the same on every call."""
    text = f"{CAPTION_WORDS} {FEDERATED_WORDS} {GENERAL_WORDS}"
    merges = merges_for(sorted(set(text.split())))
    letters = byte_letters()
    entries = [*letters, *(letter + "</w>" for letter in letters)]
    entries += dict.fromkeys(left + right for left, right in merges)
    entries += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_LENGTH)
