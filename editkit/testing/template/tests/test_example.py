"""The plugin passes editkit's conformance suites."""

from editkit.testing import AnnotatorTests, InverterTests, OperationTests, PluginTests, SamplerTests


class TestPlugin(PluginTests):
    name = "example"
    module = "editkit_example"


class TestOperation(OperationTests):
    name = "example"


class TestInverter(InverterTests):
    name = "example-inverter"


class TestSampler(SamplerTests):
    name = "example-sampler"


class TestAnnotator(AnnotatorTests):
    name = "example-annotator"
