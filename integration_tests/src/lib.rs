//! Container tests that drive the runtime binary named by `$RUNTIME`.
