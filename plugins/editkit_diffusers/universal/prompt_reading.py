"""Limits of the prompts that a pipeline reads, as its own calls of its tokenizers show them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerBase

from editkit import PromptReading

from .stand_in import StandIn

Report = Callable[[PromptReading], None]


class ObservedTokenizer(StandIn):
    """A tokenizer of a pipeline that reports each text of which it is called to leave out the end.

    The reported text is the tokenizer's, with what the pipeline adds to a prompt.
    """

    def __init__(self, part: str, tokenizer: PreTrainedTokenizerBase, report: Report) -> None:
        super().__init__(tokenizer, name=part, report=report)

    def __call__(self, text: Any = None, *args: Any, **options: Any) -> Any:
        if options.get("truncation"):
            for one in [text] if isinstance(text, str) else text or ():
                self._report_cut(one, options)
        return self.part(text, *args, **options)

    def apply_chat_template(self, conversation: Any, *args: Any, **options: Any) -> Any:
        if options.get("truncation") and options.get("tokenize", True):
            kept = {name: options[name] for name in ("add_generation_prompt", "chat_template") if name in options}
            texts = self.part.apply_chat_template(conversation, tokenize=False, **kept)
            for one in [texts] if isinstance(texts, str) else texts:
                self._report_cut(one, {**options, "add_special_tokens": False})
        return self.part.apply_chat_template(conversation, *args, **options)

    def _report_cut(self, text: Any, options: dict[str, Any]) -> None:
        if not isinstance(text, str):
            return
        limit = options.get("max_length") or self.part.model_max_length
        encoding = self.part(
            text,
            add_special_tokens=options.get("add_special_tokens", True),
            return_offsets_mapping=self.part.is_fast,
            return_special_tokens_mask=True,
            verbose=False,
        )
        tokens, special = encoding["input_ids"], encoding["special_tokens_mask"]
        if len(tokens) <= limit:
            return
        at_end = next((count for count, one in enumerate(reversed(special)) if not one), 0)
        first = limit - at_end  # special tokens at the end are kept
        if self.part.is_fast:
            cut = text[encoding["offset_mapping"][first][0] :]
        else:
            cut = self.part.decode(tokens[first:], skip_special_tokens=True)
        self.report(PromptReading(self.name, limit, cut))


def cut_of_prompt(prompt: str, cut: str) -> str:
    """Return which end of a prompt is in the cut end of a text that holds the prompt and a template around it."""
    for start in range(len(prompt)):
        if cut.startswith(prompt[start:]):
            return prompt[start:]
    # A tokenizer that changes the text, as by its case, or a cut behind the prompt, in the template.
    return cut if cut.lower() in prompt.lower() else ""
