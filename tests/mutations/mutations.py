"""Deliberate bugs that the suites and laws must catch, and the means to put one in place for a while."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import importlib
import inspect
import types
from collections.abc import Iterator
from pathlib import Path

DIFFUSION = "editkit.diffusion"
SAMPLING = "editkit.sampling"
INVERSION = "editkit.inversion"
EDITING = "editkit.editing"
SAMPLERS = "editkit_samplers"
INVERTERS = "editkit_inverters"
FLOW_EDIT = "editkit_flow_edit"


@dc.dataclass(frozen=True)
class Mutation:
    """One change of one source text, and who must notice."""

    label: str
    package: str
    """Any one of its modules has the text, once: modules may be split without a change here."""
    old: str
    new: str
    noticed_by: str
    """``kind name`` of a conformance suite, or a file of laws."""


MUTATIONS = [
    Mutation("step keeps the old sigma", SAMPLING, "math.sqrt(q.sigma**2 - noise_std**2)", "p.sigma", "samplers ddim"),
    Mutation("step forgets alpha", SAMPLING, "q.alpha * x0 +", "x0 +", "samplers ddim"),
    Mutation(
        "control's result is dropped",
        SAMPLING,
        "            x = control.after_step(index, x)",
        "            control.after_step(index, x)",
        "inverters pinned",
    ),
    Mutation(
        "control's estimate is dropped",
        SAMPLING,
        "            x0 = control.predict(index, point, x0)",
        "            pass",
        "test_loop.py",
    ),
    Mutation("recorded noise is ignored", SAMPLING, "if recorded is not None:", "if recorded is None:", "test_loop.py"),
    Mutation(
        "heun is euler", SAMPLERS, "return predicted + step * (next_eps - eps) / 2", "return predicted", "samplers heun"
    ),
    Mutation(
        "heun asks at the old point",
        SAMPLERS,
        "denoise(predicted, q), q)",
        "denoise(predicted, p), p)",
        "samplers heun",
    ),
    Mutation("ddpm keeps all its noise", SAMPLING, "math.sqrt(q.sigma**2 - noise_std**2)", "q.sigma", "samplers ddpm"),
    Mutation("ddpm draws none", SAMPLERS, "+ fresh * noise()", "", "samplers ddpm"),
    Mutation(
        "ddim writes into its input",
        SAMPLERS,
        "        x0 = denoise(x, p)\n        if self",
        "        x0 = denoise(x, p)\n        x.mul_(1.0001)\n        if self",
        "samplers ddim",
    ),
    Mutation(
        "ddim mixes its rows",
        SAMPLERS,
        "        x0 = denoise(x, p)\n        if self",
        "        x0 = denoise(x, p) - 1e-6 * x.mean()\n        if self",
        "samplers ddim",
    ),
    Mutation(
        "2m has no memory", SAMPLERS, "return x0 + (x0 - older) * h / (2 * last_h)", "return x0", "samplers dpmpp-2m"
    ),
    Mutation("2m extrapolates backwards", SAMPLERS, "x0 + (x0 - older)", "x0 - (x0 - older)", "samplers dpmpp-2m"),
    Mutation(
        "2m divides by an infinite step",
        SAMPLERS,
        "if not 0.0 < last_h * h < math.inf:",
        "if not 0.0 < last_h * h:",
        "samplers dpmpp-2m",
    ),
    Mutation(
        "2m remembers what lies behind",
        SAMPLERS,
        "if not 0.0 < last_h * h < math.inf:",
        "if not abs(last_h * h) < math.inf:",
        "samplers dpmpp-2m",
    ),
    Mutation("2m remembers nothing", SAMPLERS, "not 0.0 < last_h * h < math.inf", "True", "samplers dpmpp-2m"),
    Mutation(
        "2m remembers nothing on the way up",
        SAMPLERS,
        "if not 0.0 < last_h * h < math.inf:",
        "if not 0.0 < last_h * h < math.inf or h < 0.0:",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "sde halves its noise",
        SAMPLERS,
        "+ q.sigma * math.sqrt",
        "+ 0.5 * q.sigma * math.sqrt",
        "samplers dpmpp-2m-sde",
    ),
    Mutation(
        "3m forgets its third estimate", SAMPLERS, "in self.nodes[:2] if", "in self.nodes[:1] if", "samplers dpmpp-3m"
    ),
    Mutation(
        "3m integrates the curvature wrongly", SAMPLERS, "* math.factorial(k) / math", "/ math", "samplers dpmpp-3m"
    ),
    Mutation(
        "euler takes heun's place",
        SAMPLERS,
        "return heun_step",
        "from .ddim import DdimSampler\n    return DdimSampler()",
        "samplers heun",
    ),
    Mutation(
        "ddim inverter stops a step early",
        INVERTERS,
        "for p, q in itertools.pairwise(path):\n            x = ddim_step",
        "for p, q in itertools.pairwise(path[:-1]):\n            x = ddim_step",
        "inverters ddim",
    ),
    Mutation(
        "ddim inverter asks at the noisy end",
        INVERTERS,
        "ddim_step(x, denoise(x, p), p, q)",
        "ddim_step(x, denoise(x, q), p, q)",
        "test_inverters.py",
    ),
    Mutation(
        "corrected steps twice",
        INVERTERS,
        "x = step(x, direction, p, q)",
        "x = step(predicted, direction, p, q)",
        "inverters ddim-corrected",
    ),
    Mutation(
        "corrected does not correct",
        INVERTERS,
        "direction = estimate(predicted, denoise(predicted, q), q)",
        "direction = estimate(predicted, denoise(x, p), p)",
        "test_inverters.py",
    ),
    Mutation(
        "aligned evaluates its own latents",
        INVERTERS,
        "torch.cat([cleaner, x[count:] + step])",
        "torch.cat([cleaner, x[count:]])",
        "test_flow_inverters.py",
    ),
    Mutation(
        "pinned hands over no control",
        INVERTERS,
        'extras["estimates"], 1)]\n\n'
        "    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:\n"
        "        return (PinnedSource(record.trajectory, shares, record.path),)",
        'extras["estimates"], 1)]\n\n'
        "    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:\n"
        "        return ()",
        "inverters pinned",
    ),
    Mutation(
        "pinned corrects what departed",
        SAMPLING,
        "if self.path is not None:",
        "if False and self.path is not None:",
        "test_controls.py",
    ),
    Mutation(
        "fixed point tries once",
        INVERTERS,
        "self.iterations = iterations",
        "self.iterations = 1",
        "test_inverters.py",
    ),
    Mutation(
        "what an inversion returns is lost",
        EDITING,
        "extras.update((yield from generator) or {})",
        "yield from generator",
        "inverters edict",
    ),
    Mutation(
        "a climb is never guided",
        EDITING,
        "if inverter.guided else None",
        "if False else None",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "a pair is mixed and not unmixed",
        INVERTERS,
        "    follow = (follow - (1 - weight) * lead) / weight\n",
        "",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "two steps forget the first",
        INVERTERS,
        "factor * (earlier - ddim_step(x, x0, p, o))",
        "factor * 0 * earlier",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "edit-friendly noise is not scaled",
        INVERTERS,
        "(after - ddim_step(x, x0, p, q, fresh)) / fresh",
        "after - ddim_step(x, x0, p, q, fresh)",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "edit-friendly skips no call",
        INVERTERS,
        "path = record.path[self.first_step(record.path) :]",
        "path = record.path",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "null-text keeps its last try",
        INVERTERS,
        "improved = (candidate.loss < best.loss) & (best.loss > tolerance)",
        "improved = best.loss > tolerance",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "the negative takes the prompt's place",
        INVERTERS,
        "({**negative, **override}, *others)",
        "(negative, *others[1:], {**others[0], **override})",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "midpoint asks at the start",
        INVERTERS,
        "* self.velocity, middle)",
        "* self.velocity, p)",
        "test_flow_inverters.py",
    ),
    Mutation(
        "rex forgets its partner",
        INVERTERS,
        "(mixed - (1 - coupling) * partner)",
        "mixed",
        "test_recorded_inverters.py",
    ),
    Mutation("midpoint asks twice", INVERTERS, "if self.velocity is None:", "if True:", "test_flow_inverters.py"),
    Mutation(
        "controlled climbs away from its noise",
        INVERTERS,
        "* (target - eps)",
        "* (eps - target)",
        "test_flow_inverters.py",
    ),
    Mutation("controlled pulls to the end", INVERTERS, "if index in self.steps", "if True", "test_flow_inverters.py"),
    Mutation(
        "flow-edit takes the first noise alone", FLOW_EDIT, "sources).mean(0)", "sources)[0]", "test_flow_edit.py"
    ),
    Mutation(
        "uni-edit guides alike everywhere",
        FLOW_EDIT,
        "self.omega * (1 + share)",
        "self.omega",
        "test_flow_edit.py",
    ),
    Mutation(
        "flow-edit pushes off its source", FLOW_EDIT, "edit = edit - self", "edit = edit + self", "test_flow_edit.py"
    ),
    Mutation("sources share a noise", INVERSION, "for _ in x0]", "for _ in x0[:1]] * len(x0)", "test_flow_edit.py"),
    Mutation(
        "flow-edit guides both prompts alike",
        FLOW_EDIT,
        "(1 - target_scale, target_scale - source_scale, source_scale)",
        "(1 - target_scale, 0.0, target_scale)",
        "test_flow_edit.py",
    ),
    Mutation(
        "virtual lets the source go",
        INVERSION,
        "return (PinnedSource(",
        "return () and (PinnedSource(",
        "inverters virtual",
    ),
    Mutation(
        "pinned is a step behind", SAMPLING, "self.trajectory[index + 1]", "self.trajectory[index]", "inverters pinned"
    ),
    Mutation(
        "pinned lets the source go",
        SAMPLING,
        "torch.cat([recorded, others + error])",
        "torch.cat([sources, others + error])",
        "inverters pinned",
    ),
    Mutation("pinned forgets the other rows", SAMPLING, "others + error]", "others]", "test_controls.py"),
    Mutation(
        "strength loses a step to rounding",
        DIFFUSION,
        "round((len(path) - 1) * strength, 9)",
        "(len(path) - 1) * strength",
        "test_paths.py",
    ),
    Mutation(
        "path never reaches zero",
        DIFFUSION,
        "CLEAN if to_zero or grid.ends_clean",
        "CLEAN if grid.ends_clean",
        "test_paths.py",
    ),
    Mutation("trailing grid is a step off", DIFFUSION, "last - np.arange", "last - 1 - np.arange", "test_paths.py"),
    Mutation(
        "v has the wrong sign",
        DIFFUSION,
        "(alpha * x - sigma * predicted)",
        "(alpha * x + sigma * predicted)",
        "backends stable-diffusion",
    ),
    Mutation(
        "flow has the wrong sign",
        DIFFUSION,
        "eps_of(x, x0, point) - x0",
        "eps_of(x, x0, point) + x0",
        "backends stable-diffusion",
    ),
    Mutation(
        "v and flow share a mistake",
        DIFFUSION,
        "alpha * eps_of(x, x0, point) - sigma",
        "eps_of(x, x0, point) - sigma",
        "test_predictions.py",
    ),
    Mutation(
        "guidance swaps its prompts",
        SAMPLING,
        "(negative, condition), (1 - scale, scale)",
        "(negative, condition), (scale, 1 - scale)",
        "test_guidance.py",
    ),
    Mutation(
        "guidance costs calls at scale 1",
        SAMPLING,
        "enumerate(self.weights) if weight]",
        "enumerate(self.weights)]",
        "test_guidance.py",
    ),
    Mutation(
        "rescale mixes rows", SAMPLING, "tuple(range(1, guided.ndim))", "tuple(range(guided.ndim))", "test_guidance.py"
    ),
    Mutation(
        "img2img redraws at strength 0",
        EDITING,
        "if len(path) == 1:",
        "if not path:",
        "operations img2img",
    ),
    Mutation(
        "edits change pixels outside the mask",
        EDITING,
        "if session.mask is not None:",
        "if session.mask is not None and False:",
        "operations img2img",
    ),
    Mutation(
        "equal prompts change the picture",
        EDITING,
        "unedited = mix_sources(reconstructed, shares)",
        "unedited = 0.99 * mix_sources(reconstructed, shares)",
        "operations prompt-edit",
    ),
    Mutation(
        "erased content shines through",
        SAMPLING,
        "        shares[-1] = 0.0",
        "        pass",
        "test_kept_detail.py",
    ),
    Mutation(
        "noise ignores the seed",
        EDITING,
        "manual_seed(seed or 0)",
        "manual_seed(torch.seed() % 2**31)",
        "operations generate",
    ),
]


@contextlib.contextmanager
def in_place(mutation: Mutation) -> Iterator[None]:
    """Give the functions of a module the code of the mutated source, wherever they have been imported to."""
    module, source = module_with(mutation)
    codes = dict(codes_of(compile(source.replace(mutation.old, mutation.new), str(module.__file__), "exec")))
    originals = {function: function.__code__ for function in functions_of(module)}
    changed = {
        function: codes[code.co_qualname] for function, code in originals.items() if codes[code.co_qualname] != code
    }
    assert changed, f"{mutation.label}: no function is changed"
    try:
        for function, code in changed.items():
            function.__code__ = code
        yield
    finally:
        for function, code in originals.items():
            function.__code__ = code


def module_with(mutation: Mutation) -> tuple[types.ModuleType, str]:
    """The module of the package that has the text of a mutation, and its source."""
    folder = Path(str(importlib.import_module(mutation.package).__file__)).parent
    sources = {file: file.read_text() for file in sorted(folder.rglob("*.py"))}
    found = [file for file, source in sources.items() for _ in range(source.count(mutation.old))]
    assert len(found) == 1, f"{mutation.label}: {mutation.old!r} is {len(found)} times in {mutation.package}"
    name = ".".join([mutation.package, *found[0].relative_to(folder).with_suffix("").parts])
    return importlib.import_module(name.removesuffix(".__init__")), sources[found[0]]


def codes_of(code: types.CodeType) -> Iterator[tuple[str, types.CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant.co_qualname, constant
            yield from codes_of(constant)


def functions_of(module: types.ModuleType) -> Iterator[types.FunctionType]:
    """The functions and methods that a module's source defines."""
    owners = [module, *(value for value in vars(module).values() if inspect.isclass(value))]
    for owner in owners:
        if getattr(owner, "__module__", module.__name__) != module.__name__:
            continue
        for value in list(vars(owner).values()):  # what checks parameters is built when it is looked at
            plain = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            function = inspect.unwrap(plain) if callable(plain) else None
            if isinstance(function, types.FunctionType) and function.__code__.co_filename == module.__file__:
                yield function
