"""The property suite as a library: check any implementation of the operator, ours or anyone's."""

from spectral_stride import checks

with checks.needed("spectral_stride.testing", "hypothesis", extra="testing"):
    from spectral_stride.testing.cases import Case, cases
    from spectral_stride.testing.implementation import Call, Implementation
    from spectral_stride.testing.properties import PROPERTIES, Claim, Property
    from spectral_stride.testing.suite import Report, Row, check_implementation

__all__ = [
    "PROPERTIES",
    "Call",
    "Case",
    "Claim",
    "Implementation",
    "Property",
    "Report",
    "Row",
    "cases",
    "check_implementation",
]
