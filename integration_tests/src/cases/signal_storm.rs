//! Signals sent again and again to a command that is at work, or to it and all that it has made: those that nobody ends of
//! change nothing, and those that end it leave a container that works, or one that `delete --force` takes away.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::json;

use super::faults::calls;
use super::{Test, cases, same};
use crate::command::{PATIENCE, called_by, wait, wait_until};
use crate::config;
use crate::container::Container;
use crate::pty::Own;

cases!("signal_storm":
    create, create_in_a_user_namespace, create_with_a_terminal, create_with_hooks, start, run, detached_run,
    run_on_a_terminal, exec, detached_exec, exec_on_a_terminal, delete, delete_by_force,
    each_call_of_create, each_call_of_create_in_a_user_namespace, each_call_of_run, each_call_of_start, each_call_of_exec,
    each_call_of_delete,
);

/// By default they end nobody (signal(7)); a stop and what ends it are a pair.
const HARMLESS: [Signal; 5] =
    [Signal::WINCH, Signal::CHILD, Signal::STOP, Signal::CONT, Signal::URG];
/// By default they end a process.
const ENDING: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1];
/// At how many moments of a command the first signal comes that ends it; and of one that is slowed.
const MOMENTS: [u32; 2] = [20, 10];
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
enum Way {
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
struct Attack<'a> {
    /// The command.
    arguments: Vec<&'a str>,
    /// Where its standard streams are, or nowhere.
    terminal: Option<&'a Own>,
    /// Its exit code where nobody ends it.
    code: i32,
    /// What there is before.
    before: &'a dyn Fn() -> Test,
    /// What there is after it, by its exit code (minus the number of the signal that it was killed by).
    after: &'a dyn Fn(i32, &str) -> Test,
}

impl Attack<'_> {
    fn by(&self, way: Way, container: &Container) -> Test {
        match way {
            Way::AllAlong => self.all_along(container),
            Way::AtItsCalls => self.at_each_call(container, false),
            Way::AtAllCalls => self.at_each_call(container, true),
        }
    }

    /// At moments all over the command's time, sent to it and to its group; as fast as it is, and slowed by strace(1).
    fn all_along(&self, container: &Container) -> Test {
        for slowed in [false, is_strace_there()] {
            for aim in [Aim::Command, Aim::Group] {
                let still = Storm { aim, slowed, ending: None };
                let what = || format!("{still:?}");
                let (code, span) = self.once(container, still).with_context(what)?;
                ensure!(code == self.code, "{}: exit code {code}", what());
                let moments = MOMENTS[usize::from(slowed)];
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
    fn at_each_call(&self, container: &Container, all: bool) -> Test {
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
    fn judge(&self, container: &Container, code: i32) -> Test {
        let log = container.file("log.json");
        let said = fs::read_to_string(&log).unwrap_or_default();
        let _ = fs::remove_file(&log);
        let judged = (self.after)(code, &said).and_then(|()| container.delete_force());
        let has_defect = said.contains("defect");
        judged
            .and_then(|()| Ok(ensure!(!has_defect, "it says that it is a defect")))
            .with_context(|| format!("exit code {code}: {said}"))
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
            if start.elapsed() > PATIENCE {
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
fn is_traced(child: &Child, binary: &Path) -> Test {
    let line = format!("/proc/{}/cmdline", child.id());
    let own = [binary.as_os_str().as_bytes(), b"\0"].concat();
    wait_until("the command is traced", || Ok(fs::read(&line)?.starts_with(&own)))
}

fn is_strace_there() -> bool {
    super::faults::need_strace().is_ok()
}

/// Who has been asked to end says so, or was killed before there was anything to undo.
fn was_asked_to_end(code: i32, said: &str, failure: i32) -> Test {
    let is_known = code < 0 || (code == failure && is_interruption(said));
    ensure!(is_known, "an exit code or an error that is not of the signal");
    Ok(())
}

/// The command itself was interrupted; or what it had made was killed, which got the same signal.
fn is_interruption(said: &str) -> bool {
    ["interrupted by SIG", "killed by signal", "the process is gone"]
        .iter()
        .any(|word| said.contains(word))
}

/// A created container can be started, and its program comes to run; of another nothing is left.
fn is_whole_or_nothing(container: &Container, code: i32, said: &str) -> Test {
    if code != 0 {
        was_asked_to_end(code, said, 1)?;
        return container.nothing_left();
    }
    same!(container.state()?["status"], "created");
    container.verb("start")?.success()?;
    runs(container)
}

/// The program of the container runs.
fn runs(container: &Container) -> Test {
    let pid = container.pid()?;
    let program = || Ok(fs::read_to_string(format!("/proc/{pid}/cmdline"))?.starts_with("sleep"));
    wait_until("the program", program)?;
    container.exec(&["true"])?.success().map(drop)
}

fn attack_create(container: &mut Container, flags: &[&str], way: Way) -> Test {
    container.script("exec sleep 100");
    let bundle = container.bundle();
    container.save()?;
    let attack = Attack {
        arguments: [&["create", "--bundle", &bundle], flags, &[&container.id]].concat(),
        terminal: None,
        code: 0,
        before: &|| Ok(()),
        after: &|code, said| is_whole_or_nothing(container, code, said),
    };
    attack.by(way, container)
}

fn create(container: &mut Container) -> Test {
    attack_create(container, &[], Way::AllAlong)
}

fn each_call_of_create(container: &mut Container) -> Test {
    attack_create(container, &[], Way::AtItsCalls)
}

fn each_call_of_create_in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    attack_create(container, &[], Way::AtAllCalls)
}

fn create_in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    attack_create(container, &[], Way::AllAlong)
}

/// Nobody takes the terminal: it waits in the socket.
fn create_with_a_terminal(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("exec sleep 100");
    // A bundle's path may be too long for a socket's.
    let path = std::env::temp_dir().join(format!("storm-{}", std::process::id()));
    let listener = UnixListener::bind(&path)?;
    // Every command waits in its queue.
    rustix::net::listen(&listener, 1000)?;
    let attacked =
        attack_create(container, &["--console-socket", &path.display().to_string()], Way::AllAlong);
    fs::remove_file(&path)?;
    attacked
}

/// Each kind of hook that runs before the program: none outlives a command that is interrupted.
fn create_with_hooks(container: &mut Container) -> Test {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        container.set(&format!("/hooks/{kind}"), json!([super::hooks::shell("sleep 0.01")]));
    }
    attack_create(container, &[], Way::AllAlong)
}

/// A container that was not started can be, and in one that runs the program does.
fn attack_start(container: &mut Container, way: Way) -> Test {
    container.script("exec sleep 100");
    let attack = Attack {
        arguments: vec!["start", &container.id],
        terminal: None,
        code: 0,
        before: &|| container.create()?.success().map(drop),
        after: &|code, _| {
            ensure!(code <= 0, "an error of start");
            if container.state()?["status"] == "created" {
                ensure!(code < 0, "it is not started");
                container.verb("start")?.success()?;
            }
            runs(container)
        },
    };
    attack.by(way, container)
}

fn start(container: &mut Container) -> Test {
    attack_start(container, Way::AllAlong)
}

fn each_call_of_start(container: &mut Container) -> Test {
    attack_start(container, Way::AtItsCalls)
}

/// The program's exit code, or that of the signal, which is the program's too.
fn is_the_programs(code: i32, own: i32) -> bool {
    code == own || ENDING.iter().any(|signal| code == 128 + signal.as_raw())
}

/// A program that runs for a moment in the foreground.
const MOMENT: &str = "sleep 0.01; exit 7";

fn attack_run(container: &mut Container, terminal: Option<&Own>) -> Test {
    container.set("/process/terminal", json!(terminal.is_some()));
    container.script(MOMENT);
    container.save()?;
    let bundle = container.bundle();
    Attack {
        arguments: vec!["run", "--bundle", &bundle, &container.id],
        terminal,
        code: 7,
        before: &|| Ok(()),
        after: &|code, said| {
            if !is_the_programs(code, 7) {
                was_asked_to_end(code, said, 1)?;
            }
            container.nothing_left()
        },
    }
    .by(Way::AllAlong, container)
}

fn run(container: &mut Container) -> Test {
    attack_run(container, None)
}

fn run_on_a_terminal(container: &mut Container) -> Test {
    attack_run(container, Some(&Own::new(24, 80)?))
}

fn attack_detached_run(container: &mut Container, way: Way) -> Test {
    container.script("exec sleep 100");
    container.save()?;
    let bundle = container.bundle();
    let attack = Attack {
        arguments: vec!["run", "--detach", "--bundle", &bundle, &container.id],
        terminal: None,
        code: 0,
        before: &|| Ok(()),
        after: &|code, said| {
            if code == 0 {
                return runs(container);
            }
            was_asked_to_end(code, said, 1)?;
            container.nothing_left()
        },
    };
    attack.by(way, container)
}

fn detached_run(container: &mut Container) -> Test {
    attack_detached_run(container, Way::AllAlong)
}

fn each_call_of_run(container: &mut Container) -> Test {
    attack_detached_run(container, Way::AtItsCalls)
}

/// Whatever ends a process of exec, the container lives on without it.
fn attack_exec(
    container: &mut Container,
    flags: &[&str],
    program: &str,
    terminal: Option<&Own>,
    way: Way,
) -> Test {
    container.script("exec sleep 100");
    let detached = flags.contains(&"--detach");
    let own = if detached { 0 } else { 7 };
    let pid_file = container.file("pid");
    let more = ["--pid-file", &pid_file, &container.id, "sh", "-c", program];
    let attack = Attack {
        arguments: [&["exec"], flags, &more].concat(),
        terminal,
        code: own,
        before: &|| {
            let _ = fs::remove_file(&pid_file);
            container.create()?.success()?;
            container.verb("start")?.success()?;
            runs(container)
        },
        after: &|code, said| {
            let has_run = if detached { code == 0 } else { is_the_programs(code, own) };
            if !has_run {
                was_asked_to_end(code, said, 255)?;
                ensure!(!fs::exists(&pid_file)?, "a pid file is left");
            }
            let expected = if detached && has_run { 2 } else { 1 };
            wait_until("the container's processes", || Ok(container.pids()?.len() == expected))?;
            runs(container)
        },
    };
    attack.by(way, container)
}

fn each_call_of_exec(container: &mut Container) -> Test {
    attack_exec(container, &["--detach"], "exec sleep 50", None, Way::AtAllCalls)
}

fn exec(container: &mut Container) -> Test {
    attack_exec(container, &[], MOMENT, None, Way::AllAlong)
}

fn detached_exec(container: &mut Container) -> Test {
    attack_exec(container, &["--detach"], "exec sleep 50", None, Way::AllAlong)
}

fn exec_on_a_terminal(container: &mut Container) -> Test {
    attack_exec(container, &["--tty"], MOMENT, Some(&Own::new(24, 80)?), Way::AllAlong)
}

/// Who was not told that it is deleted can delete it.
fn attack_delete(container: &mut Container, flags: &[&str], started: bool, way: Way) -> Test {
    container.script("exec sleep 100");
    let attack = Attack {
        arguments: [&["delete"], flags, &[&container.id]].concat(),
        terminal: None,
        code: 0,
        before: &|| {
            container.create()?.success()?;
            if started {
                container.verb("start")?.success()?;
            }
            Ok(())
        },
        after: &|code, _| {
            ensure!(code <= 0, "an error of delete");
            if code == 0 { container.nothing_left() } else { Ok(()) }
        },
    };
    attack.by(way, container)
}

fn delete(container: &mut Container) -> Test {
    attack_delete(container, &[], false, Way::AllAlong)
}

fn delete_by_force(container: &mut Container) -> Test {
    attack_delete(container, &["--force"], true, Way::AllAlong)
}

fn each_call_of_delete(container: &mut Container) -> Test {
    attack_delete(container, &["--force"], true, Way::AtItsCalls)
}
