//! A hostile program in a container ([`crate::hostile`]) while the host works on it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::terminal::with_socket;
use super::{Test, cases};
use crate::command::wait_until;
use crate::config;
use crate::container::Container;
use crate::hostile;

cases!("hostile":
    cve_2016_9962_exec, cve_2016_9962_exec_with_terminal, cve_2016_9962_exec_without_pivot_root,
    cve_2016_9962_exec_in_a_user_namespace,
);

/// How often the host works on the container while it attacks.
const ROUNDS: usize = 40;

/// Makes the hostile program the container's, with `CAP_SYS_PTRACE`: it can follow the links of
/// every process that it sees.
fn make_hostile(container: &mut Container) -> Test {
    let program = container.rootfs().join("hostile");
    // Another test's child would keep a file of ours open for writing until it executes something.
    let copied = Command::new("cp").arg(std::env::current_exe()?).arg(&program).status();
    ensure!(copied?.success(), "cp");
    let marker = container.victim.join("marker");
    fs::write(&marker, "of the host")?;
    fs::create_dir(container.rootfs().join("report"))?;
    fs::create_dir(container.directory.join("report"))?;
    let source = container.file("report");
    container.mount(json!({ "destination": "/report", "source": source, "options": ["bind"] }));
    let marker = marker.display().to_string();
    let args = json!(["/hostile", hostile::FLAG, marker, "/report/lines"]);
    container.set("/process/args", args);
    config::allow_capabilities(&mut container.config, &["CAP_SYS_PTRACE"]);
    Ok(())
}

/// Starts the attack, does `work` while it goes on, and looks at what it got hold of.
fn attacked(container: &mut Container, flags: &[&str], work: impl Fn(&Container) -> Test) -> Test {
    container.create_with(flags)?.success()?;
    container.verb("start")?.success()?;
    container.wait_for_file("report/lines")?;
    let report = || fs::read_to_string(container.directory.join("report/lines"));
    for _ in 0..ROUNDS {
        work(container)?;
    }
    // A process that comes and goes may be missed, all of them may not.
    wait_until("a process that is attacked", || {
        work(container)?;
        Ok(report()?.contains("seen"))
    })?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    let lines = report()?;
    let reached: Vec<_> = lines.lines().filter(|line| line.starts_with("reached")).collect();
    ensure!(reached.is_empty(), "the host was reached: {reached:?}");
    Ok(())
}

/// A program that is not gone at once.
const BRIEF: [&str; 2] = ["sleep", "0.02"];

fn exec(container: &Container) -> Test {
    container.exec(&BRIEF)?.success()?;
    Ok(())
}

/// No directory of the host is open in a process that enters the container.
fn cve_2016_9962_exec(container: &mut Container) -> Test {
    make_hostile(container)?;
    attacked(container, &[], exec)
}

fn cve_2016_9962_exec_with_terminal(container: &mut Container) -> Test {
    make_hostile(container)?;
    attacked(container, &[], |container| {
        let (output, master) = with_socket(container, |path| {
            let flags = ["--tty", "--detach", "--console-socket", path];
            container.exec_with(&flags, &BRIEF)
        })?;
        output.success()?;
        master.context("no master")?;
        Ok(())
    })
}

fn cve_2016_9962_exec_without_pivot_root(container: &mut Container) -> Test {
    make_hostile(container)?;
    attacked(container, &["--no-pivot"], exec)
}

fn cve_2016_9962_exec_in_a_user_namespace(container: &mut Container) -> Test {
    make_hostile(container)?;
    config::add_user_namespace(&mut container.config);
    fs::set_permissions(container.directory.join("report"), fs::Permissions::from_mode(0o777))?;
    attacked(container, &[], exec)
}
