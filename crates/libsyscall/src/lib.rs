//! The system calls that nix and rustix lack: the only crate of aril where `unsafe` compiles.
//!
//! Every wrapper is one call with the kernel's own arguments turned into types; none of them
//! decides anything. Each `unsafe` block holds one call and says why it is sound.
#![allow(unsafe_code)]

pub mod bpf;
