//! Running the tests and telling how they ended.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::container::{Container, Runtime, Skip};
use crate::differences::{Differences, Expected};

/// One test.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub name: &'static str,
    pub body: fn(&mut Container) -> anyhow::Result<()>,
}

/// How one test ended.
enum Ending {
    Passed,
    Failed(String),
    Skipped(String),
}

/// What becomes of the ending in view of the listed differences.
enum Verdict {
    Passed(String),
    Failed(String),
    Skipped(String),
}

/// How many run at a time.
const THREADS: usize = 2;

/// Runs all, prints each as it ends, the skipped ones again, and the totals last. Whether none
/// failed.
pub(crate) fn run(runtime: &Runtime, cases: &[Case], differences: &Differences) -> bool {
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::with_capacity(cases.len()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let verdict = judge(run_one(runtime, *case), differences.expected(case.name));
            print(case.name, &verdict);
            if let Ok(mut verdicts) = verdicts.lock() {
                verdicts.push((case.name, verdict));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    summarize(&verdicts.into_inner().unwrap_or_default()) == 0
}

/// Runs one test and checks that it leaves nothing behind, whether it passed or not.
fn run_one(runtime: &Runtime, case: Case) -> Ending {
    let outcome = Container::new(runtime, case.name).and_then(|mut container| {
        let body = catch_unwind(AssertUnwindSafe(|| (case.body)(&mut container)));
        let left = container.finish();
        body.unwrap_or_else(|panic| Err(anyhow::anyhow!("panics: {}", message(&*panic)))).and(left)
    });
    match outcome {
        Ok(()) => Ending::Passed,
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(Skip(reason)) => Ending::Skipped(reason.clone()),
            None => Ending::Failed(format!("{error:#}")),
        },
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref().cloned()).unwrap_or_default()
}

/// A listed test must fail, and in the way that is listed.
fn judge(ending: Ending, expected: Option<Expected<'_>>) -> Verdict {
    match (ending, expected) {
        (Ending::Passed, None | Some(Expected { sometimes: true, .. })) => {
            Verdict::Passed(String::new())
        }
        (Ending::Failed(error), Some(listed)) if error.contains(listed.says) => {
            Verdict::Passed(format!(" differs as listed: {}", listed.rule))
        }
        (Ending::Failed(error), Some(listed)) => {
            Verdict::Failed(format!("differs, but not as listed ({}): {error}", listed.says))
        }
        (Ending::Passed, Some(_)) => {
            Verdict::Failed("is listed as a difference and passes; take it off the list".to_owned())
        }
        (Ending::Failed(error), None) => Verdict::Failed(error),
        (Ending::Skipped(reason), _) => Verdict::Skipped(reason),
    }
}

fn print(name: &str, verdict: &Verdict) {
    match verdict {
        Verdict::Passed(note) => println!("ok {name}{note}"),
        Verdict::Failed(error) => println!("FAILED {name}: {error}"),
        Verdict::Skipped(reason) => println!("skipped {name}: {reason}"),
    }
}

/// Prints what did not pass, and the totals. The number of failures.
fn summarize(verdicts: &[(&str, Verdict)]) -> usize {
    let is_failed = |verdict: &Verdict| matches!(verdict, Verdict::Failed(_));
    let is_skipped = |verdict: &Verdict| matches!(verdict, Verdict::Skipped(_));
    let select = |wanted: &dyn Fn(&Verdict) -> bool| {
        let chosen: Vec<_> = verdicts.iter().filter(|(_, verdict)| wanted(verdict)).collect();
        println!();
        chosen.iter().for_each(|(name, verdict)| print(name, verdict));
        chosen.len()
    };
    let (skipped, failed) = (select(&is_skipped), select(&is_failed));
    let passed = verdicts.len() - failed - skipped;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    failed
}
