//! Container tests: they drive the runtime binary named by `$RUNTIME`, as root, on this kernel.
//!
//! `integration_tests [--view host|v1|v2] [--differences FILE] [FILTER...]`. A test runs if its
//! name contains one of the filters. A test named in FILE is expected to fail, in the way and for
//! the rule given there; one that passes all the same is a failure. Skips say why. The tests run
//! in namespaces of their own, and the machine is compared before and after: that counts as tests,
//! too. The last line is `N passed, N failed, N skipped`.
//!
//! `integration_tests --hostile ...` is the hostile program that some tests run in a container.
#![allow(clippy::print_stdout, reason = "a test runner reports on standard output")]

mod cases;
mod command;
mod config;
mod container;
mod differences;
mod hostile;
mod isolation;
mod leftovers;
mod machine;
mod mountinfo;
mod removal;
mod suite;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use container::{Runtime, Skip};
use differences::Differences;
use isolation::Role;
use suite::{Case, Totals};
use view::View;

/// The command line.
struct Request {
    view: View,
    differences: Option<PathBuf>,
    filters: Vec<String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, rest @ ..] = &arguments[..]
        && flag == hostile::FLAG
    {
        return hostile::run(rest).map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS);
    }
    let role = Role::own();
    match run(role, arguments) {
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

fn run(role: Role, arguments: Vec<String>) -> anyhow::Result<Totals> {
    let request = parse(arguments.into_iter())?;
    let cases = select(&request.filters)?;
    let known = |name: &str| cases::all().iter().any(|case| case.name == name);
    let differences = request.differences.map(|path| Differences::load(&path, request.view, known));
    let differences = differences.transpose()?.unwrap_or_default();
    let runtime = Runtime::from_environment()?;
    let totals = match role {
        Role::Watcher => isolation::watch()?,
        Role::Leader => isolation::lead(request.view).or_else(|error| skip_all(error, &cases))?,
        Role::Suite => suite::run(&runtime, &cases, &differences),
    };
    println!("{totals}");
    Ok(totals)
}

/// On a machine without what a view shows its tests are skipped.
fn skip_all(error: anyhow::Error, cases: &[Case]) -> anyhow::Result<Totals> {
    let Some(Skip(reason)) = error.downcast_ref() else { return Err(error) };
    println!("skipped all: {reason}");
    Ok(Totals { skipped: cases.len(), ..Totals::default() })
}

fn parse(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Request> {
    let mut request = Request { view: View::Host, differences: None, filters: Vec::new() };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} what?"));
        match argument.as_str() {
            "--view" => request.view = value()?.parse()?,
            "--differences" => request.differences = Some(value()?.into()),
            flag if flag.starts_with('-') => anyhow::bail!("unknown flag {flag}"),
            _ => request.filters.push(argument),
        }
    }
    Ok(request)
}

fn select(filters: &[String]) -> anyhow::Result<Vec<Case>> {
    let mut cases = cases::all();
    let wanted = |name: &str| filters.iter().any(|filter| name.contains(filter.as_str()));
    cases.retain(|case| filters.is_empty() || wanted(case.name));
    ensure!(!cases.is_empty(), "no test has such a name");
    Ok(cases)
}
