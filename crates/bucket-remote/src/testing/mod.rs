//! Doubles and the conformance suite.
