//! Container tests: they drive the runtime binary named by `$RUNTIME`, as root, on this kernel.
//!
//! `integration_tests [--view host|v1|v2] [--differences FILE] [--without-call CALL] [NAME...]`, and flags of libtest
//! ([`arguments`]). A test runs if its name contains one of the names. A test named in FILE is
//! expected to fail, in the way and for the rule given there; one that passes all the same is a
//! failure. Skips say why. The tests run in namespaces of their own, and the machine is compared
//! before and after: that counts as tests, too. The last line is `N passed, N failed, N skipped`.
//!
//! `integration_tests --hostile ...` is the hostile program that some tests run in a container, `--threads` one that
//! loses its first thread, `--notify` one that says that it is ready; `--parent ...` is a caller that has the containers for children.
#![allow(clippy::print_stdout, reason = "a test runner reports on standard output")]

mod agent;
mod apparmor;
mod arguments;
mod cases;
mod command;
mod config;
mod container;
mod differences;
mod hostile;
mod isolation;
mod leftovers;
mod machine;
mod missing_call;
mod mountinfo;
mod notify;
mod parent;
mod pty;
mod removal;
mod runtime;
mod skip;
mod storm;
mod suite;
mod systemd;
mod threads;
mod view;

use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser as _;

use arguments::Arguments;

use differences::Differences;
use isolation::Role;
use runtime::Runtime;
use skip::Skip;
use suite::{Case, Totals};
use systemd::KeptControllers;

fn main() -> ExitCode {
    let own: Vec<String> = std::env::args().skip(1).collect();
    let program = match own.split_first() {
        Some((flag, rest)) if flag == hostile::FLAG => Some(hostile::run(rest)),
        Some((flag, rest)) if flag == threads::FLAG => Some(threads::run(rest)),
        Some((flag, rest)) if flag == notify::FLAG => Some(notify::run(rest)),
        Some((flag, rest)) if flag == parent::FLAG => Some(parent::run(rest)),
        _ => None,
    };
    if let Some(ended) = program {
        return ended.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
    }
    let role = Role::own();
    match run(role, &Arguments::parse()) {
        // The first process of the namespaces only has to get to its end: what failed is counted.
        Ok(totals) if totals.failed == 0 || role == Role::Leader => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    println!("integration_tests: {error:#}");
    ExitCode::from(2)
}

fn run(role: Role, arguments: &Arguments) -> anyhow::Result<Totals> {
    let mut cases = cases::all();
    let known =
        |name: &str| cases.iter().any(|case| case.name == name) || machine::is_comparison(name);
    let differences = arguments.differences.as_ref();
    let differences = differences.map(|path| Differences::load(path, arguments.view, known));
    let differences = differences.transpose()?.unwrap_or_default();
    cases.retain(|case| arguments.select(case.name));
    if arguments.list {
        list(&cases);
        return Ok(Totals::default());
    }
    if arguments.started_by_cargo && role == Role::Watcher {
        if cases.is_empty() || arguments.names.is_empty() {
            println!("no container test is started: none is named (docs/testing.md, \"The loop\")");
            return Ok(Totals::default());
        }
        Runtime::build()?;
    }
    ensure!(!cases.is_empty(), "no test has such a name");
    let runtime = Runtime::from_environment()?;
    let totals = match role {
        Role::Watcher => isolation::watch(!arguments.no_pid_namespace, &differences)?,
        Role::Leader => isolation::lead(arguments.view, &differences)
            .or_else(|error| skip_all(error, &cases))?,
        Role::Suite => {
            let _kept = KeptControllers::new(&runtime.token)?;
            arguments.without_call.iter().try_for_each(|call| call.install())?;
            suite::run(&runtime, &cases, &differences, arguments.limits())
        }
    };
    println!("{totals}");
    Ok(totals)
}

/// As libtest does.
fn list(cases: &[Case]) {
    cases.iter().for_each(|case| println!("{}: test", case.name));
    println!("\n{} tests, 0 benchmarks", cases.len());
}

/// On a machine without what a view shows its tests are skipped.
fn skip_all(error: anyhow::Error, cases: &[Case]) -> anyhow::Result<Totals> {
    let Some(Skip(reason)) = error.downcast_ref() else { return Err(error) };
    println!("skipped all: {reason}");
    Ok(Totals { skipped: cases.len(), ..Totals::default() })
}
