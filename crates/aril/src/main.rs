//! aril: an OCI runtime-spec 1.3 container runtime for Linux.
fn main() {}
