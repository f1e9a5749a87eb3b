"""Call annotators on an image and print the outcomes, as one JSON object by call.

tests/plugins/test_annotators.py runs it in a separate process with the packages of controlnet-aux on the path.
``hed-weights=FOLDER`` writes random weights of its HED detector first.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from editkit import EditkitError
from editkit.registry.registry import installed


def write_hed_weights(folder: Path) -> None:
    import torch
    from editkit_annotators.detectors import import_package

    import_package()
    from controlnet_aux.hed import ControlNetHED_Apache2

    torch.manual_seed(0)
    torch.save(ControlNetHED_Apache2().state_dict(), folder / "ControlNetHED.pth")


def outcome(call: str, image: Image.Image) -> dict[str, Any]:
    try:
        result = installed().build("annotators", call)(image)
    except EditkitError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    ours = installed().build("annotators", "edge:low=100,high=200,sigma=0")(image)
    distance = cv2.distanceTransform((ours == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return {
        "shape": result.shape,
        "dtype": str(result.dtype),
        "low": float(result.min()),
        "high": float(result.max()),
        "near_ours": float((distance[result > 0.5] <= 2).mean()),
    }


def main() -> None:
    image = Image.open(sys.argv[1]).convert("RGB")
    outcomes = {}
    for call in sys.argv[2:]:
        if call.startswith("hed-weights="):
            write_hed_weights(Path(call.removeprefix("hed-weights=")))
        else:
            outcomes[call] = outcome(call, image)
    json.dump(outcomes, sys.stdout)


if __name__ == "__main__":
    main()
