//! The system calls that nix and rustix lack; the only crate of aril with unsafe code.
