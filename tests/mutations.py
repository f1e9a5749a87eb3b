"""Deliberate bugs that the suites and laws must catch, and the means to put one in place for a while."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import importlib
import inspect
import types
from collections.abc import Iterator
from pathlib import Path

LOOP = "editkit.loop"
PATHS = "editkit.paths"
CONTROLS = "editkit.controls"
GUIDANCE = "editkit.guidance"
PREDICTIONS = "editkit.predictions"
SINGLE = "editkit_samplers.ddim"
MULTI = "editkit_samplers.dpmpp"
SAMPLERS = "editkit_samplers"
EXPLICIT = "editkit_inverters.ddim"
INVERTERS = "editkit_inverters"
FLOW = "editkit_inverters.rf_midpoint"
FLOW_EDIT = "editkit_flow_edit.operation"
REVERSIBLE = "editkit_inverters.edict"
EDIT_FRIENDLY = "editkit_inverters.edit_friendly"


@dc.dataclass(frozen=True)
class Mutation:
    """One change of one source text, and who must notice."""

    label: str
    module: str
    old: str
    new: str
    noticed_by: str
    """``kind name`` of a conformance suite, or a file of laws."""


MUTATIONS = [
    Mutation("step keeps the old sigma", LOOP, "math.sqrt(q.sigma**2 - fresh**2)", "p.sigma", "samplers ddim"),
    Mutation("step forgets alpha", LOOP, "q.alpha * x0 +", "x0 +", "samplers ddim"),
    Mutation(
        "control's result is dropped",
        LOOP,
        "            x = control.after_step(index, x)",
        "            control.after_step(index, x)",
        "inverters pinned",
    ),
    Mutation(
        "control's estimate is dropped",
        LOOP,
        "            x0 = control.predict(index, point, x0)",
        "            pass",
        "test_loop.py",
    ),
    Mutation("recorded noise is ignored", LOOP, "if recorded is not None:", "if recorded is None:", "test_loop.py"),
    Mutation(
        "heun is euler", SINGLE, "return predicted + stretch * (later - eps) / 2", "return predicted", "samplers heun"
    ),
    Mutation(
        "heun asks at the old point", SINGLE, "denoise(predicted, q), q)", "denoise(predicted, p), p)", "samplers heun"
    ),
    Mutation("ddpm keeps all its noise", LOOP, "math.sqrt(q.sigma**2 - fresh**2)", "q.sigma", "samplers ddpm"),
    Mutation("ddpm draws none", SINGLE, "+ fresh * noise()", "", "samplers ddpm"),
    Mutation(
        "ddim writes into its input",
        SINGLE,
        "        x0 = denoise(x, p)\n        if self",
        "        x0 = denoise(x, p)\n        x.mul_(1.0001)\n        if self",
        "samplers ddim",
    ),
    Mutation(
        "ddim mixes its rows",
        SINGLE,
        "        x0 = denoise(x, p)\n        if self",
        "        x0 = denoise(x, p) - 1e-6 * x.mean()\n        if self",
        "samplers ddim",
    ),
    Mutation(
        "2m has no memory", MULTI, "return x0 + (x0 - older) * goes / (2 * came)", "return x0", "samplers dpmpp-2m"
    ),
    Mutation("2m extrapolates backwards", MULTI, "x0 + (x0 - older)", "x0 - (x0 - older)", "samplers dpmpp-2m"),
    Mutation(
        "2m divides by an infinite step",
        MULTI,
        "if not 0.0 < came * goes < math.inf:",
        "if not 0.0 < came * goes:",
        "samplers dpmpp-2m",
    ),
    Mutation(
        "2m remembers what lies behind",
        MULTI,
        "if not 0.0 < came * goes < math.inf:",
        "if not abs(came * goes) < math.inf:",
        "samplers dpmpp-2m",
    ),
    Mutation("2m remembers nothing", MULTI, "not 0.0 < came * goes < math.inf", "True", "samplers dpmpp-2m"),
    Mutation(
        "2m remembers nothing on the way up",
        MULTI,
        "if not 0.0 < came * goes < math.inf:",
        "if not 0.0 < came * goes < math.inf or goes < 0.0:",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "sde halves its noise", MULTI, "+ q.sigma * math.sqrt", "+ 0.5 * q.sigma * math.sqrt", "samplers dpmpp-2m-sde"
    ),
    Mutation(
        "3m forgets its third estimate", MULTI, "in self.nodes[:2] if", "in self.nodes[:1] if", "samplers dpmpp-3m"
    ),
    Mutation("3m integrates the curvature wrongly", MULTI, "* math.factorial(k) / math", "/ math", "samplers dpmpp-3m"),
    Mutation("euler takes heun's place", SAMPLERS, "return lambda params: heun", "return load_ddim()", "samplers heun"),
    Mutation(
        "ddim inverter stops a step early",
        EXPLICIT,
        "for p, q in itertools.pairwise(path):\n            x = ddim_step",
        "for p, q in itertools.pairwise(path[:-1]):\n            x = ddim_step",
        "inverters ddim",
    ),
    Mutation(
        "ddim inverter asks at the noisy end",
        EXPLICIT,
        "ddim_step(x, denoise(x, p), p, q)",
        "ddim_step(x, denoise(x, q), p, q)",
        "test_inverters.py",
    ),
    Mutation(
        "corrected steps twice",
        EXPLICIT,
        "x = moved(x, eps, p, q)",
        "x = moved(predicted, eps, p, q)",
        "inverters ddim-corrected",
    ),
    Mutation(
        "corrected does not correct", EXPLICIT, "denoise(predicted, q), q)", "denoise(x, p), p)", "test_inverters.py"
    ),
    Mutation(
        "pinned hands over no control",
        EXPLICIT,
        "return (PinnedSource(climb.trajectory, shares, climb.path),)",
        "return ()",
        "inverters pinned",
    ),
    Mutation(
        "pinned corrects what departed",
        CONTROLS,
        "if self.path is not None:",
        "if False and self.path is not None:",
        "test_controls.py",
    ),
    Mutation(
        "fixed point tries once",
        INVERTERS,
        "FixedPoint(params.iterations, params.tolerance)",
        "FixedPoint(1, params.tolerance)",
        "test_inverters.py",
    ),
    Mutation(
        "what a climb returns is lost",
        "editkit.session",
        "returned.update((yield from generator) or {})",
        "yield from generator",
        "inverters edict",
    ),
    Mutation(
        "a climb is never guided",
        "editkit.session",
        "if inverter.guided else None",
        "if False else None",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "a pair is mixed and not unmixed",
        REVERSIBLE,
        "    follow = (follow - (1 - weight) * lead) / weight\n",
        "",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "two steps forget the first",
        REVERSIBLE,
        "proportion * (earlier - ddim_step(x, x0, p, o))",
        "proportion * 0 * earlier",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "edit-friendly noise is not scaled",
        EDIT_FRIENDLY,
        "(after - ddim_step(x, x0, p, q, fresh)) / fresh",
        "after - ddim_step(x, x0, p, q, fresh)",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "edit-friendly skips no call",
        EDIT_FRIENDLY,
        "path = climb.path[self.first(climb.path) :]",
        "path = climb.path",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "null-text keeps its last try",
        "editkit_inverters.null_text",
        "taken = (tried.loss < best.loss) & (best.loss > enough)",
        "taken = best.loss > enough",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "the negative takes the prompt's place",
        "editkit_inverters.negative_prompt",
        "({**negative, **here}, *others)",
        "(negative, *others[1:], {**others[0], **here})",
        "test_recorded_inverters.py",
    ),
    Mutation(
        "midpoint asks at the start", FLOW, "* self.velocity, middle)", "* self.velocity, p)", "test_flow_inverters.py"
    ),
    Mutation("midpoint asks twice", FLOW, "if self.velocity is None:", "if True:", "test_flow_inverters.py"),
    Mutation("controlled climbs away from its noise", FLOW, "* (aim - eps)", "* (eps - aim)", "test_flow_inverters.py"),
    Mutation("controlled pulls to the end", FLOW, "if index in self.steps", "if True", "test_flow_inverters.py"),
    Mutation("flow-edit takes the first noise alone", FLOW_EDIT, "]).mean(0)", "])[0]", "test_flow_edit.py"),
    Mutation(
        "sources share a noise", "editkit.virtual", "for _ in x0]", "for _ in x0[:1]] * len(x0)", "test_flow_edit.py"
    ),
    Mutation(
        "flow-edit guides both prompts alike",
        FLOW_EDIT,
        "(1 - there, there - here, here)",
        "(1 - there, 0.0, there)",
        "test_flow_edit.py",
    ),
    Mutation(
        "virtual lets the source go",
        "editkit.virtual",
        "return (PinnedSource(",
        "return () and (PinnedSource(",
        "inverters virtual",
    ),
    Mutation(
        "pinned is a step behind", CONTROLS, "self.trajectory[index + 1]", "self.trajectory[index]", "inverters pinned"
    ),
    Mutation(
        "pinned lets the source go",
        CONTROLS,
        "torch.cat([wanted, others + missed])",
        "torch.cat([sources, others + missed])",
        "inverters pinned",
    ),
    Mutation("pinned forgets the other rows", CONTROLS, "others + missed]", "others]", "test_controls.py"),
    Mutation(
        "strength loses a step to rounding",
        PATHS,
        "round((len(path) - 1) * strength, 9)",
        "(len(path) - 1) * strength",
        "test_paths.py",
    ),
    Mutation(
        "path never reaches zero",
        PATHS,
        "CLEAN if to_zero or grid.ends_clean",
        "CLEAN if grid.ends_clean",
        "test_paths.py",
    ),
    Mutation("trailing grid is a step off", PATHS, "last - np.arange", "last - 1 - np.arange", "test_paths.py"),
    Mutation(
        "v has the wrong sign",
        PREDICTIONS,
        "(alpha * x - sigma * predicted)",
        "(alpha * x + sigma * predicted)",
        "backends stable-diffusion",
    ),
    Mutation(
        "flow has the wrong sign",
        PREDICTIONS,
        "eps_of(x, x0, point) - x0",
        "eps_of(x, x0, point) + x0",
        "backends stable-diffusion",
    ),
    Mutation(
        "v and flow share a mistake",
        PREDICTIONS,
        "point.alpha * eps_of(x, x0, point) - point.sigma",
        "eps_of(x, x0, point) - point.sigma",
        "test_predictions.py",
    ),
    Mutation(
        "guidance swaps its prompts",
        GUIDANCE,
        "(1 - scale, scale)",
        "(scale, 1 - scale)",
        "test_guidance.py",
    ),
    Mutation(
        "guidance costs calls at scale 1", GUIDANCE, "strict=True) if weight]", "strict=True)]", "test_guidance.py"
    ),
    Mutation(
        "rescale mixes rows", GUIDANCE, "tuple(range(1, guided.ndim))", "tuple(range(guided.ndim))", "test_guidance.py"
    ),
    Mutation(
        "img2img redraws at strength 0",
        "editkit.redrawing",
        "if len(path) == 1:",
        "if not path:",
        "operations img2img",
    ),
    Mutation(
        "edits change pixels outside the mask",
        "editkit.composing",
        "if session.mask is not None:",
        "if session.mask is not None and False:",
        "operations img2img",
    ),
    Mutation(
        "equal prompts change the picture",
        "editkit.composing",
        "decoded, trip, session.mask)",
        "decoded, trip * 0.99, session.mask)",
        "operations prompt-edit",
    ),
    Mutation(
        "noise ignores the seed",
        "editkit.edits",
        'getattr(params, "seed", None) or 0',
        "torch.seed() % 2**31",
        "operations generate",
    ),
]


@contextlib.contextmanager
def in_place(mutation: Mutation) -> Iterator[None]:
    """Give the functions of a module the code of the mutated source, wherever they have been imported to."""
    module = importlib.import_module(mutation.module)
    source = Path(str(module.__file__)).read_text()
    assert source.count(mutation.old) == 1, (
        f"{mutation.label}: {mutation.old!r} is {source.count(mutation.old)} times in the source"
    )
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
