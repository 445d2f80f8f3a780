//! The features document (runtime-spec, features.md).
