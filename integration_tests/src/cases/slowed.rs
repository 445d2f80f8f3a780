//! Two commands on one container at once, of which strace(1) slows the first at each call of a kind: whatever either of
//! them comes to, nothing stays that `delete --force` cannot remove, and nobody waits for ever.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::faults::need_strace;
use super::{Test, cases};
use crate::command::{called_by, wait};
use crate::config;
use crate::container::Container;

cases!("slowed":
    create, create_in_a_user_namespace, start, kill, delete, exec,
);

/// The calls that are slowed: what is written, what is opened, what is said to others.
const SLOWED: [&str; 3] = ["write", "openat", "sendmsg,recvmsg"];
/// By how much each, in microseconds.
const DELAY: u32 = 15_000;
/// How far the first command is when the second comes.
const AHEAD: Duration = Duration::from_millis(300);

/// Does `second` beside the slowed `first`, in a container that `before` has made. What each of them said, if it failed.
fn both(
    container: &Container,
    calls: &str,
    first: &[&str],
    second: &[&str],
) -> anyhow::Result<[Option<String>; 2]> {
    let log = container.directory.join("slowed.json");
    let _ = fs::remove_file(&log);
    let mut command = container.bare_command();
    command.arg("--root").arg(container.root()).arg("--log").arg(&log).args(first);
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e"]);
    strace.arg(format!("inject={calls}:delay_enter={DELAY}"));
    let mut slowed = called_by(strace, &command);
    let mut child =
        slowed.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(AHEAD);
    let output = container.runtime(second);
    if second.first() == Some(&"pause") {
        // What is frozen in the middle goes on when it is let go.
        container.verb("resume")?;
    }
    let code = wait(&mut child).context("the first command")?;
    let output = output.context("the second command")?;
    let said = (code != 0).then(|| fs::read_to_string(&log).unwrap_or_default());
    Ok([said, (output.code != 0).then(|| output.message())])
}

/// Does each of `seconds` beside the slowed `first`, slowed in each way; neither may say that it is a defect, and the first
/// only one of `words`.
fn with_each(
    container: &Container,
    before: impl Fn() -> Test,
    first: &[&str],
    words: &[&str],
) -> Test {
    need_strace()?;
    let id = container.id.as_str();
    let seconds: [&[&str]; 4] =
        [&["kill", id, "KILL"], &["delete", "--force", id], &["start", id], &["pause", id]];
    for second in seconds {
        for calls in SLOWED {
            before()?;
            let [one, other] = both(container, calls, first, second)
                .with_context(|| format!("{calls} slowed, {second:?}"))?;
            for said in one.iter().chain(&other) {
                ensure!(!said.contains("defect"), "{calls} slowed, {second:?}: {said}");
            }
            if let Some(said) = one {
                let is_known = words.iter().any(|word| said.contains(word));
                ensure!(is_known, "{calls} slowed, {second:?}: {said}");
            }
            container.delete_force().with_context(|| format!("{calls} slowed, {second:?}"))?;
        }
    }
    Ok(())
}

/// What whoever makes a container hears of another that ends it.
const ENDED: [&str; 5] = [
    "killed by signal 9",
    "the process is gone",
    "not running",
    "does not exist",
    "before it was ready",
];

fn made(container: &mut Container) -> Test {
    container.script("sleep 100");
    container.save()?;
    let bundle = container.bundle();
    with_each(container, || Ok(()), &["create", "--bundle", &bundle, &container.id], &ENDED)
}

fn create(container: &mut Container) -> Test {
    made(container)
}

fn create_in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    made(container)
}

/// `verb` in a container that has been created, or started too.
fn done(container: &mut Container, first: &[&str], started: bool, words: &[&str]) -> Test {
    container.script("sleep 100");
    let before = || {
        container.create()?.success()?;
        if started {
            container.verb("start")?.success()?;
        }
        Ok(())
    };
    with_each(container, before, first, words)
}

fn start(container: &mut Container) -> Test {
    let words = [&ENDED[..], &["already running", "has stopped", "paused"]].concat();
    let id = container.id.clone();
    done(container, &["start", &id], false, &words)
}

fn kill(container: &mut Container) -> Test {
    let id = container.id.clone();
    done(container, &["kill", &id, "KILL"], true, &["not running", "does not exist"])
}

fn delete(container: &mut Container) -> Test {
    let id = container.id.clone();
    done(container, &["delete", "--force", &id], true, &[])
}

/// Whatever ends the container, the word is that it does not run.
fn exec(container: &mut Container) -> Test {
    let id = container.id.clone();
    let first = ["exec", "--detach", &id, "sleep", "50"];
    let words = ["container not running", "container does not exist", "paused container"];
    done(container, &first, true, &words)
}
