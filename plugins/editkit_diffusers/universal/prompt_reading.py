"""Prompts as the tokenizers of a pipeline read them, which the pipeline's own calls of them show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from editkit import Word

from .stand_in import StandIn


class ReadText(NamedTuple):
    """A text that a pipeline calls a tokenizer with: the prompt and what the pipeline adds to it."""

    encoder: str
    """Part of the model's folder."""
    limit: int
    """Most tokens that are read."""
    cut: str
    """Text behind the limit."""
    tokens: tuple[tuple[str, int], ...]
    """Text and number of each token that is read, without padding."""

    def places(self, count: int) -> list[Word]:
        """Return the words among ``count`` that a network attends to; none if the text is not that of so many.

        They are all tokens of the text, all that a padded text may have, or those behind the beginning of a template.
        """
        if count not in (self.limit, len(self.tokens)) and not 0 < count < len(self.tokens):
            return []
        left_out = 0 if count == self.limit else len(self.tokens) - count
        return [Word(*token, place) for place, token in enumerate(self.tokens[left_out:])]


class ObservedTokenizer(StandIn):
    """A tokenizer of a pipeline that reports each text it is called with."""

    def __init__(self, part: str, tokenizer: PreTrainedTokenizerBase, report: Callable[[ReadText], None]) -> None:
        super().__init__(tokenizer, name=part, report=report)

    def __call__(self, text: Any = None, *args: Any, **options: Any) -> Any:
        for one in [text] if isinstance(text, str) else text or ():
            self._report(one, options)
        return self.part(text, *args, **options)

    def apply_chat_template(self, conversation: Any, *args: Any, **options: Any) -> Any:
        if options.get("tokenize", True):
            kept = {name: options[name] for name in ("add_generation_prompt", "chat_template") if name in options}
            texts = self.part.apply_chat_template(conversation, tokenize=False, **kept)
            for one in [texts] if isinstance(texts, str) else texts:
                self._report(one, {**options, "add_special_tokens": False})
        return self.part.apply_chat_template(conversation, *args, **options)

    def _report(self, text: Any, options: dict[str, Any]) -> None:
        if not isinstance(text, str):
            return
        encoding = self.part(
            text,
            add_special_tokens=options.get("add_special_tokens", True),
            return_offsets_mapping=self.part.is_fast,
            return_special_tokens_mask=True,
            verbose=False,
        )
        tokens, special = encoding["input_ids"], encoding["special_tokens_mask"]
        limit = options.get("max_length") or self.part.model_max_length
        cut = ""
        if options.get("truncation") and len(tokens) > limit:
            at_end = next((count for count, one in enumerate(reversed(special)) if not one), 0)
            first = limit - at_end  # special tokens at the end are kept
            if self.part.is_fast:
                cut = text[encoding["offset_mapping"][first][0] :]
            else:
                cut = self.part.decode(tokens[first:], skip_special_tokens=True)
            tokens = [*tokens[:first], *tokens[len(tokens) - at_end :]]
        read = tuple((self.part.decode([token]).strip(), token) for token in tokens)
        self.report(ReadText(self.name, limit, cut, read))


class ObservedProcessor(StandIn):
    """A processor of texts and images whose tokenizer is observed where a pipeline calls it by itself."""

    def __init__(self, part: str, processor: Any, report: Callable[[ReadText], None]) -> None:
        super().__init__(processor, tokenizer=ObservedTokenizer(part, processor.tokenizer, report))

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.part(*args, **options)


def cut_of_prompt(prompt: str, cut: str) -> str:
    """Return which end of a prompt is in the cut end of a text that holds the prompt and a template around it."""
    for start in range(len(prompt)):
        if cut.startswith(prompt[start:]):
            return prompt[start:]
    # A tokenizer that changes the text, as by its case, or a cut behind the prompt, in the template.
    return cut if cut.lower() in prompt.lower() else ""
