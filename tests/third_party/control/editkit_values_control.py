from torch import Tensor

from editkit import AttentionControl, AttentionInputs


class SourceValues(AttentionControl):
    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount

    def edit(self, inputs: AttentionInputs) -> Tensor:
        place, mixed = inputs.site.image_keys, inputs.value.clone()
        source = self.from_source(inputs, "value", "image")
        mixed[:, :, place] += self.amount * (source - mixed[:, :, place])
        return inputs.attend(inputs.query, inputs.key, mixed, inputs.bias)
