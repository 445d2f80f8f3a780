//! The hostile container: all probes ([`crate::hostile::probes`]) at once, again and again, while the host
//! makes containers, enters and deletes them, and somebody else renames parts of their paths.

mod given;
mod host;
mod outcome;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use super::hostile::Nodes;
use super::{Test, cases, keyrings};
use crate::command::{Output, wait_until};
use crate::container::Container;
use crate::hostile::FLAG;
use crate::hostile::probes::{PROBES, Powers, Probe, Target};
use crate::removal::remove_tree;
use given::everything_at_once_is_found;
use host::{Host, add_host, give};
use outcome::Outcome;

cases!("hostile": everything_at_once, everything_at_once_is_found);

/// How long the attack goes on, in seconds: `hack/soak --hostile` sets it.
const SECONDS: &str = "HOSTILE_SECONDS";
/// Without it. Each of the powers has its turn.
const DEFAULT_SECONDS: u64 = 4;
/// How many rounds there are at most after that time, for what was not tried yet.
const MOST_ROUNDS: usize = 40;
/// How often a container is entered.
const ENTRIES: usize = 4;
/// A variable and a word of the runtime's caller.
const VARIABLE: &str = "VARIABLE_OF_THE_CALLER";
const ARGUMENT: &str = "argument-of-the-caller";
const REPORT: &str = "report/lines";

/// What of a root filesystem changes places with a link, or goes and comes.
const RENAMED: [&str; 6] = ["proc", "sys", "dev", "mnt", "mnt/deep", "given"];

/// The hostile program's command line.
fn attack(target: &Target, is_chosen: impl Fn(&Probe) -> bool) -> [String; 5] {
    let probes = PROBES.iter().filter(|probe| is_chosen(probe)).map(|probe| probe.name.to_owned());
    let target = Target { probes: probes.collect(), ..target.clone() };
    let report = format!("/{REPORT}");
    ["/hostile".to_owned(), FLAG.to_owned(), "everything".to_owned(), report, target.to_argument()]
}

/// Calls the runtime as somebody who has a key, and secrets in arguments and environment.
fn call(container: &Container, args: &[&str]) -> anyhow::Result<Output> {
    let mut command = container.command(args);
    command.env(VARIABLE, "secret");
    keyrings::in_session(container, "-", &command)
}

/// Renames one path of the root filesystem without end: exchanged for a link, or away and back.
fn rename(container: &Container, round: usize, stop: &AtomicBool) -> Test {
    let name = RENAMED[round % RENAMED.len()];
    let place = container.rootfs().join(name);
    let aside = container.directory.join("swaps").join(name.replace('/', "-"));
    let is_link = (round / RENAMED.len()).is_multiple_of(2);
    let aim = match name {
        "proc" | "sys" => PathBuf::from(format!("/vol/{name}")),
        _ => container.victim.join("target"),
    };
    if is_link {
        symlink(aim, &aside)?;
    }
    let change = |from: &PathBuf, to: &PathBuf| {
        let flags = if is_link { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        let _ = renameat_with(CWD, from, CWD, to, flags);
    };
    // Each state lasts for a time that is another one at each turn, so that all moments are met. The right
    // one lasts longer, so that most containers come to be.
    for turn in 0.. {
        let wait = |factor: u64, most: u64| {
            std::thread::sleep(Duration::from_micros(turn * factor % most))
        };
        change(&place, &aside);
        wait(37, 150);
        change(&aside, &place);
        wait(61, 400);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    if is_link {
        return Ok(fs::remove_file(&aside)?);
    }
    if aside.exists() {
        // The runtime has made what was away.
        renameat_with(CWD, &place, CWD, &aside, RenameFlags::EXCHANGE)?;
        remove_tree(&aside)?;
    }
    Ok(())
}

/// Tries to run a program of the host, and to work in a directory of the host, by a descriptor that
/// the runtime has left open (CVE-2024-21626).
fn by_descriptor(container: &Container, number: usize, outcome: &mut Outcome) -> Test {
    let up = format!("/proc/self/fd/{number}{}", "/..".repeat(12));
    let program = format!("{up}{}", container.victim.join("busybox").display());
    let ran = container.exec(&[&program, "echo", "reached"])?.stdout;
    let hit = ran.contains("reached").then_some(program);
    outcome.outside("program by a descriptor", hit);
    let cwd = format!("/proc/self/fd/{number}");
    outcome.outside("directory by a descriptor", directory(container, &cwd)?);
    Ok(())
}

/// The working directory, if the marker is in it or can be reached upwards.
fn directory(container: &Container, cwd: &str) -> anyhow::Result<Option<String>> {
    let marker = container.victim.join("given/marker");
    let script = format!("cat marker ./{}{}", "../".repeat(12), marker.display());
    let shown = container.exec_with(&["--cwd", cwd], &["sh", "-c", &script])?.stdout;
    Ok(shown.contains(&fs::read_to_string(marker)?).then(|| cwd.to_owned()))
}

/// A container is made, entered and deleted while all goes on.
fn round(container: &mut Container, host: &Host, turn: Turn<'_>) -> Test {
    let Turn { number, base, nodes, outcome } = turn;
    let powers = Powers::EACH[number % Powers::EACH.len()];
    container.config = base.clone();
    give(&mut container.config, powers)?;
    let attack = attack(&host.target, |probe| (probe.closed_for)(powers));
    // By turns it is there before the container's program, and sees init; or it is that program.
    // Each of these turns has a length that divides no other, so that all meet all.
    let is_early = [2, 5].contains(&(number % 7));
    let idle = ["sleep", "100"].map(str::to_owned);
    container.set("/process/args", if is_early { json!(idle) } else { json!(attack) });
    // Who is root of a user namespace alone makes no directories in the image.
    let below = if powers == Powers::AllInUserNamespace {
        "there".to_owned()
    } else {
        format!("new{number}")
    };
    let destination = format!("/mnt/deep/{below}");
    container.mount(json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }));
    container.save()?;
    let report = container.directory.join(REPORT);
    if report.exists() {
        fs::remove_file(report)?;
    }
    let stop = AtomicBool::new(false);
    let shared = &*container;
    let worked = std::thread::scope(|scope| {
        let renaming = scope.spawn(|| rename(shared, number, &stop));
        let worked = work(shared, is_early.then_some(&attack), number, outcome);
        stop.store(true, Ordering::Relaxed);
        let renamed = renaming.join().map_err(|_| anyhow::anyhow!("renaming panics"));
        worked.and_then(|()| renamed?)
    });
    container.runtime(&["delete", "--force", &container.id])?;
    worked?;
    container.nothing_left()?;
    outcome.read(container);
    outcome.outside("made on the host", host.made(container)?);
    outcome.outside(
        "device of the host changed",
        nodes.unchanged().err().map(|error| error.to_string()),
    );
    host.restore(container)?;
    nodes.restore()
}

/// One round, and what all rounds share.
struct Turn<'a> {
    number: usize,
    /// The config without what a round gives.
    base: &'a Value,
    nodes: &'a mut Nodes,
    outcome: &'a mut Outcome,
}

/// Waits until the attack has begun. It does not, and there are fewer processes than `processes`, if its
/// program ends at once since something was renamed.
fn begins(container: &Container, processes: usize, outcome: &mut Outcome) -> anyhow::Result<bool> {
    let report = container.directory.join(REPORT);
    let is_there = || fs::read(&report).is_ok_and(|text| !text.is_empty());
    // Of a container that has stopped not every runtime tells them.
    let has_ended = || container.pids().unwrap_or_default().len() < processes;
    wait_until("an attack or its end", || Ok(is_there() || has_ended()))?;
    let ended = || Err(anyhow!("the hostile program has ended at once"));
    Ok(is_there() || !outcome.is_refused(ended()))
}

/// Create, start, and exec again and again. A create that fails since a path has changed is as good.
fn work(
    container: &Container,
    early: Option<&[String; 5]>,
    number: usize,
    outcome: &mut Outcome,
) -> Test {
    let (bundle, pid_file) = (container.bundle(), container.file(ARGUMENT));
    let create = ["create", "--bundle", &bundle, "--pid-file", &pid_file, &container.id];
    if outcome.is_refused(call(container, &create)) {
        return Ok(());
    }
    if let Some(attack) = early {
        let args: Vec<&str> = attack.iter().map(String::as_str).collect();
        let exec = ["exec", "--detach", "--pid-file", &pid_file, &container.id];
        let refused = outcome.is_refused(call(container, &[&exec[..], &args].concat()));
        if refused || !begins(container, 2, outcome)? {
            return Ok(());
        }
    }
    let refused = outcome.is_refused(call(container, &["start", &container.id]));
    if refused || !begins(container, 1, outcome)? {
        return Ok(());
    }
    outcome.ran(Powers::EACH[number % Powers::EACH.len()]);
    for entry in 0..ENTRIES {
        let exec = ["exec", "--pid-file", &pid_file, &container.id, "sleep", "0.01"];
        outcome.is_refused(call(container, &exec));
        by_descriptor(container, 3 + (number * ENTRIES + entry) % 13, outcome)?;
    }
    Ok(())
}

/// Nothing of the host is reached, whatever is tried at once and whatever changes meanwhile.
fn everything_at_once(container: &mut Container) -> Test {
    let asked = std::env::var(SECONDS).ok();
    let seconds = asked.as_ref().map(|text| text.parse()).transpose().context(SECONDS)?;
    let time = Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS));
    add_host(container)?;
    let host = Host::new(container)?;
    let (base, mut nodes) = (container.config.clone(), Nodes::new()?);
    let mut outcome = Outcome::new();
    let mut number = 0;
    // A slow machine takes the time that each probe needs to be tried.
    while outcome.began.elapsed() < time || (!outcome.untried().is_empty() && number < MOST_ROUNDS)
    {
        let turn = Turn { number, base: &base, nodes: &mut nodes, outcome: &mut outcome };
        let failed = || format!("round {number}");
        round(container, &host, turn).with_context(failed)?;
        number += 1;
    }
    outcome.verdict()?;
    if asked.is_some() {
        println!("{}", outcome.shown());
    }
    Ok(())
}
