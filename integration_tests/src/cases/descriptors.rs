//! What is open when a program of the image runs: no descriptor leads to the host (CVE-2024-21626).
//!
//! The victim is a scratch directory: a runtime that is vulnerable must do no harm here.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, same};
use crate::command::{Output, called_by};
use crate::container::Container;

cases!("descriptors":
    cve_2024_21626_cwd, cve_2024_21626_linked_cwd, cve_2024_21626_exec_cwd, cve_2024_21626_program,
    cve_2024_21626_program_of_created, cve_2024_21626_program_by_inherited,
    cve_2024_21626_program_in_path, cve_2024_21626_interpreter, cve_2024_21626_exec_program,
    cve_2024_21626_passwd, cve_2024_21626_hook, cve_2024_21626_preserved_by_create,
    cve_2024_21626_preserved_by_exec, cve_2024_21626_stale_listen_fds, listen_fds,
);

/// Says where it is: inside, the working directory has a name and the root is the container's.
const WHERE: &str = "readlink /proc/self/cwd; pwd -P; ls ../../../../../../../../../..";

/// A program that got a working directory must be inside.
fn inside(output: &Output) -> Test {
    if output.code == 0 {
        ensure!(output.lines()[0].starts_with('/'), "{output:?}");
        ensure!(!output.stdout.contains("unreachable"), "{output:?}");
        ensure!(output.lines().contains(&"only-here"), "{output:?}");
    }
    Ok(())
}

fn mark_root(container: &Container) -> Test {
    Ok(fs::write(container.rootfs().join("only-here"), "")?)
}

fn cve_2024_21626_cwd(container: &mut Container) -> Test {
    mark_root(container)?;
    for number in 3..32 {
        container.set("/process/cwd", json!(format!("/proc/self/fd/{number}")));
        inside(&container.run_script(WHERE)?).with_context(|| number.to_string())?;
    }
    Ok(())
}

fn cve_2024_21626_linked_cwd(container: &mut Container) -> Test {
    mark_root(container)?;
    container.set("/process/cwd", json!("/way"));
    for number in 3..32 {
        symlink(format!("/proc/self/fd/{number}"), container.rootfs().join("way"))?;
        inside(&container.run_script(WHERE)?).with_context(|| number.to_string())?;
        fs::remove_file(container.rootfs().join("way"))?;
    }
    Ok(())
}

fn cve_2024_21626_exec_cwd(container: &mut Container) -> Test {
    mark_root(container)?;
    container.start_idle()?;
    for number in 3..32 {
        let cwd = format!("/proc/self/fd/{number}");
        inside(&container.exec_with(&["--cwd", &cwd], &["sh", "-c", WHERE])?)
            .with_context(|| number.to_string())?;
    }
    Ok(())
}

/// Paths of `name` in the victim's directory by way of each descriptor that the runtime might have
/// left open on a directory of the host.
fn ways_out(container: &Container, name: &str) -> Vec<String> {
    let target = container.victim.join(name).display().to_string();
    (3..32).map(|fd| format!("/proc/self/fd/{fd}{}{target}", "/..".repeat(12))).collect()
}

/// A program on the host that says so when it is executed.
fn host_program(container: &Container) -> Test {
    fs::copy(container.rootfs().join("bin/busybox"), container.victim.join("busybox"))?;
    Ok(())
}

/// The arguments with which the host's program says so.
const ESCAPE: [&str; 2] = ["echo", "escaped"];

/// Nothing of the host's program was heard of.
fn caught(output: &Output) -> Test {
    ensure!(!output.stdout.contains("escaped"), "a program of the host ran: {output:?}");
    ensure!(output.code != 0, "there is no such program: {output:?}");
    Ok(())
}

fn cve_2024_21626_program(container: &mut Container) -> Test {
    host_program(container)?;
    for path in ways_out(container, "busybox") {
        container.set("/process/args", json!([path, ESCAPE[0], ESCAPE[1]]));
        caught(&container.run()?).context(path)?;
    }
    Ok(())
}

/// A program that is there at `create` and leads out at `start`.
fn cve_2024_21626_program_of_created(container: &mut Container) -> Test {
    host_program(container)?;
    // The name says what busybox is to do.
    let program = container.rootfs().join("bin/later/touch");
    fs::create_dir(container.rootfs().join("bin/later"))?;
    container.set("/process/args", json!(["/bin/later/touch", "/escaped"]));
    container.set("/root/readonly", json!(false));
    for path in ways_out(container, "busybox") {
        symlink("../busybox", &program)?;
        container.create()?.success()?;
        fs::remove_file(&program)?;
        symlink(&path, &program)?;
        let _ = container.verb("start")?;
        container.wait_for("stopped")?;
        container.delete_force()?;
        fs::remove_file(&program)?;
        ensure!(!container.rootfs().join("escaped").exists(), "{path} ran");
    }
    Ok(())
}

/// What the caller forgot to close is no way out either.
fn cve_2024_21626_program_by_inherited(container: &mut Container) -> Test {
    host_program(container)?;
    let path = format!("/proc/self/fd/9{}", container.victim.join("busybox").display());
    container.set("/process/args", json!([path, ESCAPE[0], ESCAPE[1]]));
    container.save()?;
    let run = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    caught(&with_shell(container, &run, "", "9< /")?)
}

fn cve_2024_21626_program_in_path(container: &mut Container) -> Test {
    host_program(container)?;
    container.set("/process/args", json!(["busybox", ESCAPE[0], ESCAPE[1]]));
    let ways = ways_out(container, "").join(":");
    container.set("/process/env", json!([format!("PATH={ways}")]));
    caught(&container.run()?)
}

fn cve_2024_21626_interpreter(container: &mut Container) -> Test {
    host_program(container)?;
    let program = container.rootfs().join("bin/program");
    container.set("/process/args", json!(["/bin/program", "escaped"]));
    for (number, path) in ways_out(container, "busybox").into_iter().enumerate() {
        // The kernel reads 255 bytes of the line (execve(2)); the name says what busybox is to do.
        let directory = container.rootfs().join(format!("bin/{number}"));
        fs::create_dir(&directory)?;
        symlink(&path, directory.join(ESCAPE[0]))?;
        fs::write(&program, format!("#!/bin/{number}/{}\n", ESCAPE[0]))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        caught(&container.run()?).context(path)?;
    }
    Ok(())
}

fn cve_2024_21626_exec_program(container: &mut Container) -> Test {
    host_program(container)?;
    container.start_idle()?;
    for path in ways_out(container, "busybox") {
        caught(&container.exec(&[&path, ESCAPE[0], ESCAPE[1]])?).context(path)?;
    }
    Ok(())
}

/// A home directory is not read from a file of the host.
fn cve_2024_21626_passwd(container: &mut Container) -> Test {
    fs::write(container.victim.join("passwd"), "root:x:0:0::/escaped:/bin/sh\n")?;
    let passwd = container.rootfs().join("etc/passwd");
    container.script("echo $HOME");
    for path in ways_out(container, "passwd") {
        fs::remove_file(&passwd)?;
        symlink(&path, &passwd)?;
        same!(container.run()?.success()?.lines(), ["/"]);
    }
    container.start_idle()?;
    for path in ways_out(container, "passwd") {
        fs::remove_file(&passwd)?;
        symlink(&path, &passwd)?;
        same!(container.exec(&["sh", "-c", "echo $HOME"])?.success()?.lines(), ["/"]);
    }
    Ok(())
}

/// The image decides where a startContainer hook's path leads.
fn cve_2024_21626_hook(container: &mut Container) -> Test {
    host_program(container)?;
    let link = container.rootfs().join("bin/hook");
    let hook = json!({ "path": "/bin/hook", "args": ["sh", "-c", "exit 77"] });
    container.set("/hooks", json!({ "startContainer": [hook] }));
    container.script("true");
    for path in ways_out(container, "busybox") {
        symlink(&path, &link)?;
        let output = container.run()?;
        fs::remove_file(&link)?;
        ensure!(!output.message().contains("77"), "{path} ran: {output:?}");
        ensure!(output.code != 0, "{path}: there is no such hook: {output:?}");
    }
    Ok(())
}

/// Descriptors to keep that the caller has not passed are not the runtime's own of these numbers.
fn cve_2024_21626_preserved_by_create(container: &mut Container) -> Test {
    host_program(container)?;
    for (count, path) in (1..9).zip(ways_out(container, "busybox")) {
        container.set("/process/args", json!([path, ESCAPE[0], ESCAPE[1]]));
        caught(&container.run_with(&["--preserve-fds", &count.to_string()])?).context(path)?;
    }
    Ok(())
}

fn cve_2024_21626_preserved_by_exec(container: &mut Container) -> Test {
    host_program(container)?;
    container.start_idle()?;
    for (count, path) in (1..9).zip(ways_out(container, "busybox")) {
        let output = container
            .exec_with(&["--preserve-fds", &count.to_string()], &[&path, ESCAPE[0], ESCAPE[1]])?;
        caught(&output).context(path)?;
    }
    Ok(())
}

/// Prints which descriptors beside the standard streams are open, without opening any.
const OPEN: &str =
    "for fd in 3 4 5 6 7 8 9; do if [ -e /proc/self/fd/$fd ]; then echo $fd; fi; done";

/// `LISTEN_FDS` is for the process that `LISTEN_PID` names (sd_listen_fds(3)).
fn cve_2024_21626_stale_listen_fds(container: &mut Container) -> Test {
    container.script(OPEN);
    container.save()?;
    let bundle = container.bundle();
    let run = ["run", "--bundle", &bundle, &container.id];
    for pid in [None, Some("1")] {
        let mut command = container.command(&run);
        command.env("LISTEN_FDS", "1").envs(pid.map(|pid| ("LISTEN_PID", pid)));
        // What the caller has left open is not meant either.
        for redirection in ["", "3< /"] {
            let output = with_shell(container, &command, "", redirection)?.success()?;
            same!(output.stdout, "");
        }
    }
    container.start_idle()?;
    let mut command = container.command(&["exec", &container.id, "sh", "-c", OPEN]);
    command.env("LISTEN_FDS", "1");
    for redirection in ["", "3< /"] {
        same!(with_shell(container, &command, "", redirection)?.success()?.stdout, "");
    }
    Ok(())
}

fn listen_fds(container: &mut Container) -> Test {
    container.script(OPEN);
    container.save()?;
    let bundle = container.bundle();
    let mut command = container.command(&["run", "--bundle", &bundle, &container.id]);
    command.env("LISTEN_FDS", "1");
    let passed = with_shell(container, &command, "LISTEN_PID=$$", "3< /dev/zero 4< /dev/zero")?;
    same!(passed.success()?.lines(), ["3"]);
    // The program can tell that they are for it (sd_listen_fds(3)).
    container.script("echo $LISTEN_FDS $LISTEN_PID");
    container.save()?;
    let passed = with_shell(container, &command, "LISTEN_PID=$$", "3< /dev/zero 4< /dev/zero")?;
    same!(passed.success()?.words(), ["1", "1"]);
    with_shell(container, &command, "LISTEN_PID=$$", "")?.fails(1, &["descriptor 3 is not open"])
}

/// Runs `command` by a shell, with an `assignment` of a variable and a `redirection` of descriptors.
fn with_shell(
    container: &Container,
    command: &Command,
    assignment: &str,
    redirection: &str,
) -> anyhow::Result<Output> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{assignment} exec \"$@\" {redirection}"), "sh"]);
    container.finish_command(called_by(shell, command), Stdio::null())
}
