"""The conformance kit: suites for plugins, and toy and tiny models to develop against.

It needs no weights, no network connection, no GPU and no pytest.
"""

from .annotator_suites import AnnotatorTests
from .backend_suites import BackendTests, ModelTests
from .checks import Check, check, run_suite
from .control_suites import AttentionControlTests
from .inverter_suites import InverterTests
from .operation_suites import OperationTests
from .plugin_suites import PluginTests
from .sampler_suites import SamplerTests
from .suite import Suite, replaced
from .suites import plugin_suite, suite_of, suites_of
from .tiny import controlnet_folder, inpainting_folder, instruct_folder, pixel_ddpm_folder, stable_diffusion_folder
from .toy import GaussianDenoiser, MixtureDenoiser, ToyBackend, ToyEditBackend, flow_path, vp_path

__all__ = [
    "AnnotatorTests",
    "AttentionControlTests",
    "BackendTests",
    "Check",
    "GaussianDenoiser",
    "InverterTests",
    "MixtureDenoiser",
    "ModelTests",
    "OperationTests",
    "PluginTests",
    "SamplerTests",
    "Suite",
    "ToyBackend",
    "ToyEditBackend",
    "check",
    "controlnet_folder",
    "flow_path",
    "inpainting_folder",
    "instruct_folder",
    "pixel_ddpm_folder",
    "plugin_suite",
    "replaced",
    "run_suite",
    "stable_diffusion_folder",
    "suite_of",
    "suites_of",
    "vp_path",
]
