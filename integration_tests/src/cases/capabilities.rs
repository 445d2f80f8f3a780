//! `process.capabilities`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::container::Container;

cases!("capabilities":
    sets, ambient, ambient_ones_of_the_caller, while_waiting, none, unknown_is_a_warning, names_are_exact, program_by_capability,
    added_to_an_exec_process,
);

/// The five sets, in the order of /proc/PID/status.
fn capabilities(container: &mut Container) -> anyhow::Result<Vec<u64>> {
    let output = container.run_script("grep ^Cap /proc/self/status")?.success()?;
    let words = output.words();
    let sets = words.iter().skip(1).step_by(2);
    sets.map(|word| Ok(u64::from_str_radix(word, 16)?)).collect()
}

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;

fn sets(container: &mut Container) -> Test {
    container.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"],
            "permitted": ["CAP_KILL", "CAP_CHOWN"],
            "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_KILL"],
            "ambient": []
        }),
    );
    // execve gives root what is in its bounding and inheritable sets.
    // With no_new_privs, no more than was permitted before.
    let (all, permitted) = (CHOWN | KILL | NET_RAW, CHOWN | KILL);
    same!(capabilities(container)?, [KILL, permitted, permitted, all, 0]);
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    same!(capabilities(container)?, [KILL, 0, 0, all, 0]);
    Ok(())
}

fn ambient(container: &mut Container) -> Test {
    for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
        container.set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL"]));
    }
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    same!(capabilities(container)?, [KILL; 5]);
    Ok(())
}

fn ambient_ones_of_the_caller(container: &mut Container) -> Test {
    // What is not both permitted and inheritable is never ambient (capabilities(7)).
    let kill = json!(["CAP_KILL"]);
    let sets = json!({ "bounding": kill, "permitted": kill, "inheritable": kill });
    container.set("/process/capabilities", sets);
    container.script("grep -E 'Cap(Inh|Amb)' /proc/self/status");
    container.save()?;
    let run = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps=+kill", "--ambient-caps=+kill", "--"]);
    command.arg(run.get_program()).args(run.get_args());
    let output = container.finish_command(command, Stdio::null())?.success()?;
    same!(output.words(), ["CapInh:", "0000000000000020", "CapAmb:", "0000000000000000"]);
    Ok(())
}

/// Between create and start init has no more than the program will have.
fn while_waiting(container: &mut Container) -> Test {
    for no_new_privileges in [true, false] {
        container.set("/process/noNewPrivileges", json!(no_new_privileges));
        container.create()?.success()?;
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid()?))?;
        container.delete_force()?;
        let effective = status.lines().find(|line| line.starts_with("CapEff")).context("CapEff")?;
        ensure!(effective.ends_with("\t0000000020000420"), "{no_new_privileges} {effective}");
    }
    Ok(())
}

fn none(container: &mut Container) -> Test {
    for none in [json!({}), Value::Null] {
        container.set("/process/capabilities", none);
        same!(capabilities(container)?, [0; 5]);
    }
    Ok(())
}

/// Names are those of capabilities(7), and no others: what grants one here grants none elsewhere.
fn names_are_exact(container: &mut Container) -> Test {
    let names =
        json!(["CAP_KILL", "cap_chown", "CHOWN", "Cap_Chown", "CAP_CAP_CHOWN", " CAP_CHOWN"]);
    container.set("/process/capabilities/bounding", names);
    same!(capabilities(container)?[3], KILL);
    container.set("/process/args", json!(["sleep", "100"]));
    container.create()?.success()?;
    container.verb("start")?.success()?;
    let status = ["grep", "CapBnd", "/proc/self/status"];
    let output =
        container.exec_with(&["--cap", "chown", "--cap", "CAP_CHOWN"], &status)?.success()?;
    same!(output.words()[1], format!("{:016x}", KILL | CHOWN));
    let output = container.exec_with(&["--cap", "chown", "--cap", "CHOWN"], &status)?.success()?;
    same!(output.words()[1], format!("{KILL:016x}"));
    Ok(())
}

fn unknown_is_a_warning(container: &mut Container) -> Test {
    container.set("/process/capabilities/bounding", json!(["CAP_KILL", "CAP_FLY"]));
    container.set("/process/capabilities/permitted", json!(["CAP_KILL", "CAP_FLY"]));
    container.set("/process/capabilities/effective", json!(["CAP_KILL"]));
    same!(capabilities(container)?[3], KILL);
    Ok(())
}

/// Whoever may execute everything may execute a program of root's alone.
fn program_by_capability(container: &mut Container) -> Test {
    let program = container.rootfs().join("bin/of-root");
    fs::write(&program, "#!/bin/sh\necho ran\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o744))?;
    container.set("/process/args", json!(["/bin/of-root"]));
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    container.create_refused(&["permission denied"])?;
    for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
        container.set(&format!("/process/capabilities/{set}"), json!(["CAP_DAC_OVERRIDE"]));
    }
    same!(container.run()?.success()?.words(), ["ran"]);
    Ok(())
}

/// One that is inheritable becomes ambient, so that a user has it who is not root.
fn added_to_an_exec_process(container: &mut Container) -> Test {
    let sets =
        json!({ "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"] });
    container.set("/process/capabilities", sets);
    container.start_idle()?;
    let flags = ["--user", "1000", "--cap", "CAP_KILL", "--cap", "CAP_CHOWN"];
    let args = ["grep", "-E", "Cap(Inh|Eff|Amb)", "/proc/self/status"];
    let output = container.exec_with(&flags, &args)?.success()?;
    let kill = "0000000000000020";
    same!(output.words(), ["CapInh:", kill, "CapEff:", kill, "CapAmb:", kill]);
    Ok(())
}
