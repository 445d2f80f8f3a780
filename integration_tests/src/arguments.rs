//! The command line: libtest's flags, and what only container tests have.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Parser;

use crate::missing_call::MissingCall;
use crate::suite::Limits;
use crate::view::View;

/// Container tests of the runtime $RUNTIME, or of the aril that was built beside them.
#[derive(Debug, Parser)]
#[command(name = "integration_tests")]
pub(crate) struct Arguments {
    /// Run the tests whose name contains one of these.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// What the tests see on /sys/fs/cgroup: host, v1 or v2.
    #[arg(long, default_value = "host")]
    pub view: View,
    /// The tests that are expected to fail, and how.
    #[arg(long, value_name = "FILE")]
    pub differences: Option<PathBuf>,
    /// A system call (CALL, or CALL:EPERM) that all the tests' processes do without, as below an older kernel or an
    /// older seccomp profile; may be repeated.
    #[arg(long, value_name = "CALL")]
    pub without_call: Vec<MissingCall>,
    /// Show the names of the tests, and run none.
    #[arg(long)]
    pub list: bool,
    /// Names are whole names.
    #[arg(long)]
    pub exact: bool,
    /// Leave out the tests whose name contains this; may be repeated.
    #[arg(long, value_name = "NAME")]
    pub skip: Vec<String>,
    /// How many tests run at a time.
    #[arg(long, value_name = "NUMBER", default_value = "2")]
    pub test_threads: NonZeroUsize,
    /// Stay in the pid namespace of the caller, for a runtime that tells systemd pids: only on a machine that
    /// is thrown away, as nothing keeps a test from its processes.
    #[arg(long)]
    pub no_pid_namespace: bool,
    /// Start no more tests after one that fails.
    #[arg(long)]
    pub fail_fast: bool,
    /// Changes nothing: what a command printed is in the failure's text.
    #[arg(long, alias = "no-capture")]
    pub nocapture: bool,
    /// One of several targets of `cargo test`: without the name of a test there is nothing to do,
    /// and with one aril is built first.
    #[arg(long, hide = true)]
    pub started_by_cargo: bool,
}

impl Arguments {
    /// Whether a test is to run.
    pub(crate) fn select(&self, test: &str) -> bool {
        let is = |name: &String| if self.exact { test == name } else { test.contains(name) };
        (self.names.is_empty() || self.names.iter().any(is)) && !self.skip.iter().any(is)
    }

    /// How the tests are run.
    pub(crate) fn limits(&self) -> Limits {
        Limits { threads: self.test_threads.get(), fail_fast: self.fail_fast }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Arguments;

    /// Which of three tests run.
    fn selected(flags: &[&str]) -> Vec<&'static str> {
        let arguments = [&["integration_tests"], flags].concat();
        let arguments = Arguments::try_parse_from(arguments).unwrap();
        let mut tests = vec!["hooks::order", "hooks::order_of_two", "mounts::order"];
        tests.retain(|test| arguments.select(test));
        tests
    }

    #[test]
    fn names_select_as_in_libtest() {
        assert_eq!(selected(&[]).len(), 3);
        assert_eq!(selected(&["hooks::order"]), ["hooks::order", "hooks::order_of_two"]);
        assert_eq!(selected(&["two", "mounts"]), ["hooks::order_of_two", "mounts::order"]);
        assert_eq!(selected(&["--exact", "hooks::order", "order"]), ["hooks::order"]);
        assert_eq!(selected(&["--skip", "hooks", "order"]), ["mounts::order"]);
        assert_eq!(selected(&["--exact", "--skip=hooks::order"])[0], "hooks::order_of_two");
    }
}
