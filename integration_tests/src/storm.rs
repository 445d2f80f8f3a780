//! Signals at every moment of a command, and what must be true afterwards.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::cases::faults::{calls, need_strace};
use crate::command::{called_by, patience, wait, wait_until};
use crate::container::Container;
use crate::pty::Own;
use crate::view::{Layout, layout};

/// By default they end nobody (signal(7)); a stop and what ends it are a pair.
const HARMLESS: [Signal; 5] =
    [Signal::WINCH, Signal::CHILD, Signal::STOP, Signal::CONT, Signal::URG];
/// By default they end a process.
pub(crate) const ENDING: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1];
/// At how many moments of a command the first signal comes that ends it; and of one that is slowed.
const MOMENTS: [u32; 2] = [20, 12];
/// Between two signals. Each is a turn of the tracer, too, which must have time for its own.
const PAUSES: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(2)];
/// A command is slower by this at each call of [`SLOWED`], in microseconds.
const DELAY: u32 = 2_000;
/// Calls at each of which a traced command is slowed: what makes something that others see, and what waits for others.
const SLOWED: &str = "clone3,mkdir,mkdirat,write,rename,renameat,unlinkat,sendmsg,recvmsg,ppoll,poll,connect,execveat,\
                      setns,mount_setattr,move_mount,signalfd4,flock";

/// Whom the signals are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// The command alone, as of an engine.
    Command,
    /// The process group of the command, as of a terminal's keys.
    Group,
}

/// When the signals come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// Again and again.
    AllAlong,
    /// Once, to the command, at one of its calls.
    AtItsCalls,
    /// Once, at a call, to each process that makes it.
    AtAllCalls,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
struct Storm {
    aim: Aim,
    /// The command is slowed by strace(1) meanwhile.
    slowed: bool,
    /// When, from the command's start on, signals come that end it.
    ending: Option<(Signal, Duration)>,
}

/// What is done in a storm, and what must be true then.
pub(crate) struct Attack<'a> {
    /// The command.
    pub arguments: Vec<&'a str>,
    /// Where its standard streams are, or nowhere.
    pub terminal: Option<&'a Own>,
    /// Its exit code where nobody ends it.
    pub code: i32,
    /// What there is before.
    pub before: &'a dyn Fn() -> anyhow::Result<()>,
    /// What there is after it, by its exit code (minus the number of the signal that it was killed by).
    pub after: &'a dyn Fn(i32, &str) -> anyhow::Result<()>,
}

impl Attack<'_> {
    /// Attacks it.
    pub(crate) fn by(&self, way: Way, container: &Container) -> anyhow::Result<()> {
        match way {
            Way::AllAlong => self.all_along(container),
            Way::AtItsCalls => self.at_each_call(container, false),
            Way::AtAllCalls => self.at_each_call(container, true),
        }
    }

    /// At moments all over the command's time, sent to it and to its group; as fast as it is, and slowed by strace(1).
    fn all_along(&self, container: &Container) -> anyhow::Result<()> {
        for slowed in [false, is_strace_there()] {
            for aim in [Aim::Command, Aim::Group] {
                let still = Storm { aim, slowed, ending: None };
                let what = || format!("{still:?}");
                let (code, span) = self.once(container, still).with_context(what)?;
                ensure!(code == self.code, "{}: exit code {code}", what());
                // Where one version is missing, only the cgroups are others.
                let part = if layout()? == Layout::Hybrid { 1 } else { 4 };
                let moments = MOMENTS[usize::from(slowed)] / part;
                for moment in 0..moments {
                    let signal = ENDING[moment as usize % ENDING.len()];
                    let ending = Some((signal, span * moment / moments));
                    let storm = Storm { ending, ..still };
                    self.once(container, storm).with_context(|| format!("{storm:?}"))?;
                }
            }
        }
        Ok(())
    }

    /// At its calls, one after the other: strace(1) gives a signal to the command where it makes the call, or with `all`
    /// to each process that makes its own of that name and number.
    fn at_each_call(&self, container: &Container, all: bool) -> anyhow::Result<()> {
        (self.before)()?;
        let calls = calls(container, &self.arguments);
        container.delete_force()?;
        for (at, (name, number)) in calls?.into_iter().enumerate() {
            let signal = ENDING[at % ENDING.len()].as_raw();
            let inject = format!("inject={name}:signal={signal}:when={number}");
            let what = || format!("signal {signal} at {name} {number}");
            (self.before)().with_context(what)?;
            let mut strace = Command::new("strace");
            strace.args(["-D", "-qq", "-o", "/dev/null", "-e", &inject]);
            if all {
                strace.arg("-f");
            }
            let mut command = called_by(strace, &container.command(&self.arguments));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let code = wait(&mut command.process_group(0).spawn()?).with_context(what)?;
            self.judge(container, code).with_context(what)?;
        }
        Ok(())
    }

    /// Once: how it ended, and how long it took.
    fn once(&self, container: &Container, storm: Storm) -> anyhow::Result<(i32, Duration)> {
        (self.before)().context("before")?;
        let mut command = container.command(&self.arguments);
        if storm.slowed {
            let mut strace = Command::new("strace");
            strace.args(["-DD", "-f", "-qq", "-o", "/dev/null", "-e"]);
            strace.arg(format!("inject=?{}:delay_enter={DELAY}", SLOWED.replace(',', ",?")));
            command = called_by(strace, &command);
        }
        let stream = || self.terminal.map_or(Ok(Stdio::null()), Own::stream);
        command.stdin(stream()?).stdout(stream()?).stderr(Stdio::null());
        let modes = self.terminal.map(Own::modes).transpose()?;
        let mut child = command.process_group(0).spawn()?;
        if storm.slowed {
            is_traced(&child, &container.runtime.binary)?;
        }
        let start = Instant::now();
        let code = storm.over(&mut child)?;
        let took = start.elapsed();
        if let (Some(terminal), Some(before)) = (self.terminal, modes) {
            ensure!(before == terminal.modes()?, "exit code {code}: the terminal is left changed");
        }
        self.judge(container, code)?;
        Ok((code, took))
    }

    /// What there is after it, and that it can be taken away.
    fn judge(&self, container: &Container, code: i32) -> anyhow::Result<()> {
        let log = container.file("log.json");
        let said = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        let context = || format!("exit code {code}: {said}");
        (self.after)(code, &said).and_then(|()| container.delete_force()).with_context(context)?;
        ensure!(!said.contains("defect"), "{}", context());
        Ok(())
    }
}

impl Storm {
    /// Sends it until the command ends. The exit code, or minus the signal's number.
    fn over(self, child: &mut Child) -> anyhow::Result<i32> {
        let start = Instant::now();
        // Nobody has reaped it: the pid is its own.
        let pid = Pid::from_child(child);
        let send = |signal| match self.aim {
            Aim::Command => kill_process(pid, signal),
            Aim::Group => kill_process_group(pid, signal),
        };
        for harmless in HARMLESS.iter().cycle() {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)));
            }
            if start.elapsed() > patience() {
                let _ = kill_process_group(pid, Signal::KILL);
                child.wait()?;
                bail!("hangs");
            }
            let ending = self.ending.filter(|(_, from)| start.elapsed() >= *from);
            for signal in [Some(*harmless), ending.map(|(signal, _)| signal)].into_iter().flatten()
            {
                // What is stopped gets nothing else before it goes on; a group may have ended but for its first.
                let _ = send(signal);
                if signal == Signal::STOP {
                    let _ = send(Signal::CONT);
                }
            }
            std::thread::sleep(PAUSES[usize::from(self.slowed)]);
        }
        bail!("no signals")
    }
}

/// Waits until strace(1), which executes the command in the end, has done so: one that is killed before never ends.
fn is_traced(child: &Child, binary: &Path) -> anyhow::Result<()> {
    let line = format!("/proc/{}/cmdline", child.id());
    let own = [binary.as_os_str().as_bytes(), b"\0"].concat();
    wait_until("the command is traced", || Ok(fs::read(&line)?.starts_with(&own)))
}

fn is_strace_there() -> bool {
    need_strace().is_ok()
}
