//! Container tests: they drive the runtime binary named by `$RUNTIME`, as root, on this kernel.
//!
//! `container-tests [--differences FILE] [FILTER]`. A test named in FILE is expected to fail, for
//! the rule given there, and one that passes all the same is a failure. Skips say why. The last
//! line is `N passed, N failed, N skipped`.
#![allow(clippy::print_stdout, reason = "a test runner reports on standard output")]

mod cases;
mod differences;
mod harness;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use differences::Differences;
use harness::{Container, Runtime, Skip};

/// One test.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    body: fn(&mut Container) -> anyhow::Result<()>,
}

/// How one test ended.
enum Ending {
    Passed,
    Failed(String),
    Skipped(String),
}

/// How many run at a time.
const THREADS: usize = 2;

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("container-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<usize> {
    let mut arguments = std::env::args().skip(1).peekable();
    let mut differences = Differences::default();
    if arguments.next_if(|argument| argument == "--differences").is_some() {
        let path = arguments.next().context("--differences needs a file")?;
        differences = Differences::load(path.as_ref())?;
    }
    let filter = arguments.next().unwrap_or_default();
    let runtime = Runtime::from_environment()?;
    let cases: Vec<Case> =
        cases::all().into_iter().filter(|case| case.name.contains(&filter)).collect();
    if let Some(name) = differences.unknown(&cases::all()) {
        anyhow::bail!("the differences name a test that does not exist: {name}");
    }
    let endings = run_all(&runtime, &cases);
    Ok(report(&cases, endings, &differences))
}

fn run_all(runtime: &Runtime, cases: &[Case]) -> Vec<Ending> {
    let next = AtomicUsize::new(0);
    let endings: Mutex<Vec<Option<Ending>>> = Mutex::new(cases.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((at, case)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    cases.get(at).map(|case| (at, case))
                } {
                    let ending = run_one(runtime, *case);
                    if let Ok(mut endings) = endings.lock() {
                        endings[at] = Some(ending);
                    }
                }
            });
        }
    });
    let endings = endings.into_inner().unwrap_or_default();
    let lost = || Ending::Failed("the test thread died".to_owned());
    endings.into_iter().map(|ending| ending.unwrap_or_else(lost)).collect()
}

/// Runs one test and checks that it leaves nothing behind, whether it passed or not.
fn run_one(runtime: &Runtime, case: Case) -> Ending {
    let outcome = Container::new(runtime, case.name).and_then(|mut container| {
        let outcome = (case.body)(&mut container);
        let left = container.finish();
        outcome.and(left)
    });
    match outcome {
        Ok(()) => Ending::Passed,
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(Skip(reason)) => Ending::Skipped(reason.clone()),
            None => Ending::Failed(format!("{error:#}")),
        },
    }
}

/// Prints what happened. The number of failures.
fn report(cases: &[Case], endings: Vec<Ending>, differences: &Differences) -> usize {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (case, ending) in cases.iter().zip(endings) {
        let name = case.name;
        match (ending, differences.rule(name)) {
            (Ending::Passed, None) => {
                passed += 1;
                println!("ok      {name}");
            }
            (Ending::Failed(_), Some(rule)) => {
                passed += 1;
                println!("differs {name}: {rule}");
            }
            (Ending::Passed, Some(_)) => {
                failed += 1;
                println!(
                    "FAILED  {name}: is listed as a difference and passes; remove it from the list"
                );
            }
            (Ending::Failed(error), None) => {
                failed += 1;
                println!("FAILED  {name}: {error}");
            }
            (Ending::Skipped(reason), _) => {
                skipped += 1;
                println!("skipped {name}: {reason}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    failed
}
