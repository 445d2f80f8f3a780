//! Many processes of `exec` at once in one container.

use std::process::{Child, Stdio};

use anyhow::Context as _;

use super::{Test, cases, same};
use crate::command::wait;
use crate::container::Container;

cases!("exec_batches": each_has_its_own_exit_code);

/// How many run at a time, and how many times.
const AT_ONCE: i32 = 32;
const BATCHES: i32 = 32;

/// The exit code that is asked of the process of this number.
const fn code_of(number: i32) -> i32 {
    number % 200
}

fn spawn(container: &Container, number: i32) -> anyhow::Result<Child> {
    let script = format!("exit {}", code_of(number));
    let mut command = container.command(&["exec", &container.id, "/bin/sh", "-c", &script]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

fn each_has_its_own_exit_code(container: &mut Container) -> Test {
    container.start_idle()?;
    for batch in 0..BATCHES {
        let numbers = batch * AT_ONCE..(batch + 1) * AT_ONCE;
        let spawned: Vec<_> = numbers.map(|number| (number, spawn(container, number))).collect();
        // All are waited for, whatever one says.
        let ended = spawned.into_iter().map(|(number, child)| Ok((number, wait(&mut child?)?)));
        for result in ended.collect::<Vec<anyhow::Result<(i32, i32)>>>() {
            let (number, code) = result.context("exec")?;
            same!((number, code), (number, code_of(number)));
        }
    }
    same!(container.pids()?.len(), 1);
    container.delete_force()
}
