//! The container tests as a target of `cargo test`, with its arguments: docs/testing.md, "The loop".

use std::os::unix::process::CommandExt as _;
use std::process::Command;

fn main() -> std::io::Result<()> {
    let mut tests = Command::new(env!("CARGO_BIN_EXE_integration_tests"));
    Err(tests.args(std::env::args_os().skip(1)).arg("--started-by-cargo").exec())
}
