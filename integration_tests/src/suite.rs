//! Running the tests and telling how they ended.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::command::expect_a_hang;
use crate::container::Container;
use crate::differences::{Differences, Expected};
use crate::runtime::Runtime;
use crate::skip::Skip;

/// One test.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub name: &'static str,
    pub body: fn(&mut Container) -> anyhow::Result<()>,
}

/// How one test ended.
pub(crate) enum Ending {
    Passed,
    Failed(String),
    Skipped(String),
}

/// What becomes of the ending in view of the listed differences.
pub(crate) enum Verdict {
    Passed(String),
    Failed(String),
    Skipped(String),
}

/// How the tests are run.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// How many at a time.
    pub threads: usize,
    /// Whether none is started after one that fails.
    pub fail_fast: bool,
}

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Totals {
    /// Reads the line that [`Totals`] is shown as.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut counts = [0; 3];
        let mut parts = line.split(", ");
        for (count, word) in counts.iter_mut().zip([" passed", " failed", " skipped"]) {
            *count = parts.next()?.strip_suffix(word)?.parse().ok()?;
        }
        let [passed, failed, skipped] = counts;
        parts.next().is_none().then_some(Self { passed, failed, skipped })
    }
}

impl std::ops::Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, failed, skipped } = self;
        write!(formatter, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Runs all, prints each as it ends, and those that were skipped or failed again.
pub(crate) fn run(
    runtime: &Runtime,
    cases: &[Case],
    differences: &Differences,
    limits: Limits,
) -> Totals {
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::with_capacity(cases.len()));
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let start = Instant::now();
            let expected = differences.expected(case.name);
            expect_a_hang(expected.is_some_and(|listed| listed.is_a_hang()));
            let mut verdict = judge(run_one(runtime, *case), expected);
            // What another runtime does once in a while is no difference of it.
            if differences.are_those_of_another_runtime() && matches!(verdict, Verdict::Failed(_)) {
                verdict = second(verdict, judge(run_one(runtime, *case), expected));
            }
            print(&format!("{} ({:.2} s)", case.name, start.elapsed().as_secs_f64()), &verdict);
            if limits.fail_fast && matches!(verdict, Verdict::Failed(_)) {
                next.store(cases.len(), Ordering::Relaxed);
            }
            if let Ok(mut verdicts) = verdicts.lock() {
                verdicts.push((case.name, verdict));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..limits.threads {
            scope.spawn(work);
        }
    });
    summarize(&verdicts.into_inner().unwrap_or_default())
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
pub(crate) fn judge(ending: Ending, expected: Option<Expected<'_>>) -> Verdict {
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

/// What becomes of a test that was run again: what was seen first is told.
fn second(first: Verdict, second: Verdict) -> Verdict {
    match (first, second) {
        (Verdict::Failed(first), Verdict::Passed(note)) => {
            let first = first.lines().next().unwrap_or_default().to_owned();
            Verdict::Passed(format!("{note} (the second time; the first: {first})"))
        }
        (_, second) => second,
    }
}

pub(crate) fn print(name: &str, verdict: &Verdict) {
    match verdict {
        Verdict::Passed(note) => println!("ok {name}{note}"),
        Verdict::Failed(error) => println!("FAILED {name}: {error}"),
        Verdict::Skipped(reason) => println!("skipped {name}: {reason}"),
    }
}

/// Prints what did not pass.
fn summarize(verdicts: &[(&str, Verdict)]) -> Totals {
    let is_failed = |verdict: &Verdict| matches!(verdict, Verdict::Failed(_));
    let is_skipped = |verdict: &Verdict| matches!(verdict, Verdict::Skipped(_));
    let select = |wanted: &dyn Fn(&Verdict) -> bool| {
        let chosen: Vec<_> = verdicts.iter().filter(|(_, verdict)| wanted(verdict)).collect();
        println!();
        chosen.iter().for_each(|(name, verdict)| print(name, verdict));
        chosen.len()
    };
    let (skipped, failed) = (select(&is_skipped), select(&is_failed));
    Totals { passed: verdicts.len() - failed - skipped, failed, skipped }
}

#[cfg(test)]
mod tests {
    use super::Totals;

    #[test]
    fn totals_are_read_as_they_are_written() {
        let totals = Totals { passed: 12, failed: 0, skipped: 3 };
        assert_eq!(totals.to_string(), "12 passed, 0 failed, 3 skipped");
        assert_eq!(Totals::parse(&totals.to_string()), Some(totals));
        for other in ["", "12 passed", "ok 1 passed, 2 failed, 3 skipped", "1 passed, 2 failed, 3"]
        {
            assert_eq!(Totals::parse(other), None, "{other}");
        }
    }
}
