//! One command of the runtime, run to its end.

use std::cell::Cell;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// How long one command may take: a hang is a failure.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same in a test that is known to hang.
const PATIENCE_WITH_A_HANG: Duration = Duration::from_secs(4);

thread_local! {
    static PATIENCE_OF_THIS_TEST: Cell<Duration> = const { Cell::new(PATIENCE) };
}

/// How long one command of the test that this thread runs may take.
pub(crate) fn patience() -> Duration {
    PATIENCE_OF_THIS_TEST.get()
}

/// Says whether the next test of this thread is known to hang.
pub(crate) fn expect_a_hang(is_known: bool) {
    PATIENCE_OF_THIS_TEST.set(if is_known { PATIENCE_WITH_A_HANG } else { PATIENCE });
}

/// `caller` with `command`, and the variables that it sets, as its last arguments: for a shell or
/// another program that executes it.
pub(crate) fn called_by(mut caller: Command, command: &Command) -> Command {
    caller.arg(command.get_program());
    called_as(caller, command)
}

/// `program` with the arguments of `command`, and the variables that it sets.
pub(crate) fn called_as(mut program: Command, command: &Command) -> Command {
    program.args(command.get_args());
    program.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    program
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    /// The exit code, or minus the signal's number.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// What it wrote to `--log`.
    pub log: String,
}

impl Output {
    /// Exit code 0, or an error that shows everything.
    pub(crate) fn success(self) -> anyhow::Result<Self> {
        ensure!(self.code == 0, "exit code {}: {}{}", self.code, self.stdout, self.message());
        Ok(self)
    }

    /// Exit code `code` and an error that contains `words`.
    pub(crate) fn fails(&self, code: i32, words: &[&str]) -> anyhow::Result<()> {
        ensure!(self.code == code, "exit code {}: {}", self.code, self.message());
        for word in words {
            ensure!(self.message().contains(word), "does not say {word:?}: {}", self.message());
        }
        Ok(())
    }

    /// The last error in the log, or else what is on standard error.
    pub(crate) fn message(&self) -> String {
        let records = self.log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut errors = records.filter(|record| record["level"] == "error");
        let last = errors.next_back().and_then(|record| record["msg"].as_str().map(str::to_owned));
        last.unwrap_or_else(|| self.stderr.trim().to_owned())
    }

    /// The lines of standard output.
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.stdout.lines().map(str::trim_end).collect()
    }

    /// The words of standard output.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.stdout.split_whitespace().collect()
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("{:?}", self.stdout))
    }
}

/// Runs a command to its end. What it prints goes to files of `directory`, not to pipes, since a
/// container that goes on holds them open.
pub(crate) fn finish(
    mut command: Command,
    directory: &Path,
    stdin: Stdio,
) -> anyhow::Result<Output> {
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| directory.join(name));
    for path in [&stdout, &stderr] {
        // A container that goes on keeps the file that it has.
        let _ = fs::remove_file(path);
    }
    command.stdin(stdin).stdout(fs::File::create(&stdout)?).stderr(fs::File::create(&stderr)?);
    let mut child = command.process_group(0).spawn().with_context(|| format!("{command:?}"))?;
    let code = wait(&mut child).with_context(|| format!("{command:?}"))?;
    let log = directory.join("log.json");
    let output = Output { code, stdout: read(&stdout), stderr: read(&stderr), log: read(&log) };
    let _ = fs::remove_file(&log);
    Ok(output)
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Waits for a child that leads a process group; one that takes too long is killed with the group.
pub(crate) fn wait(child: &mut Child) -> anyhow::Result<i32> {
    use std::os::unix::process::ExitStatusExt as _;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)));
        }
        if start.elapsed() > patience() {
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            child.kill()?;
            child.wait()?;
            anyhow::bail!("hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Asks until `question` is answered with true, or too long a time has passed.
pub(crate) fn wait_until(
    what: &str,
    mut question: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    while !question()? {
        ensure!(start.elapsed() < patience(), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
