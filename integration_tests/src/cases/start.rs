//! `start`, and the socket at which aril's init waits for it.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use serde_json::json;

use super::hostile::add_hostile;
use super::{Test, cases, same};
use crate::command::{Output, wait, wait_until};
use crate::container::Container;
use crate::parent;
use crate::skip::Skip;
use crate::threads;

cases!("start":
    one_of_many_starts, who_says_nothing_starts_nothing, a_program_that_the_kernel_does_not_execute,
    a_program_that_is_gone, killed_before_the_program, killed_before_the_program_by_run, killed_before_the_program_by_exec,
    one_thread_is_left,
);

/// Whoever comes first starts the container, and nobody else is told to have done it.
fn one_of_many_starts(container: &mut Container) -> Test {
    for _ in 0..5 {
        container.create()?.success()?;
        let start = || {
            let mut command = container.command(&["start", &container.id]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let started = (0..8).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
        let ended = started.into_iter().map(|mut child| wait(&mut child));
        let codes = ended.collect::<anyhow::Result<Vec<_>>>()?;
        same!(codes.iter().filter(|code| **code == 0).count(), 1);
        container.delete_force()?;
    }
    Ok(())
}

fn who_says_nothing_starts_nothing(container: &mut Container) -> Test {
    container.set("/root/readonly", json!(false));
    container.script("touch /ran; sleep 100");
    container.create()?.success()?;
    let directory = container.root().join(&container.id);
    if !directory.join("start.sock").exists() {
        return Err(Skip("this runtime has no start.sock".to_owned()).into());
    }
    // The directory's own path may be too long for a socket's.
    let directory = File::open(directory)?;
    let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
    let connection = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
    connect(&connection, &SocketAddrUnix::new(path.join("start.sock"))?)?;
    drop(connection);
    std::thread::sleep(Duration::from_millis(200));
    let ran = container.rootfs().join("ran");
    ensure!(!ran.exists(), "the program ran");
    same!(container.state()?["status"], "created");
    container.verb("start")?.success()?;
    wait_until("the program runs", || Ok(fs::exists(&ran)?))
}

/// Creates a container, does `change` and starts it, as a caller that has it for a child: what that and the container
/// say, and how the container ended.
fn ends(container: &Container, change: &str) -> anyhow::Result<Output> {
    container.save()?;
    let bundle = container.bundle();
    let create = parent::words(&container.command(&["create", "--bundle", &bundle, &container.id]));
    let start = parent::words(&container.command(&["start", &container.id]));
    parent::output(container, &format!("{create} </dev/null && {change} && {start}"))
}

/// The program has started as far as engines can tell, and its words are where they look for them.
fn a_program_that_the_kernel_does_not_execute(container: &mut Container) -> Test {
    for (content, word) in [
        (&b"echo no first line"[..], "exec format error"),
        (b"\x7fELF\x09\x09\x09", "exec format error"),
        (b"#!/no/such\n", "no such file or directory"),
    ] {
        let program = container.rootfs().join("bin/junk");
        fs::write(&program, content)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        container.set("/process/args", json!(["/bin/junk"]));
        let output = ends(container, "true")?.success()?;
        ensure!(output.stderr.contains("/bin/junk") && output.stderr.contains(word), "{output:?}");
        same!(output.lines(), ["Some(255) None"]);
        same!(container.state()?["status"], "stopped");
        container.verb("delete")?.success()?;
        // Whoever waits for the program hears of it.
        container.run()?.fails(1, &["/bin/junk", word])?;
        container.run_with(&["--detach"])?.fails(1, &["/bin/junk", word])?;
        container.nothing_left()?;
    }
    Ok(())
}

fn a_program_that_is_gone(container: &mut Container) -> Test {
    let program = container.rootfs().join("bin/mine");
    fs::copy(container.rootfs().join("bin/busybox"), &program)?;
    container.set("/process/args", json!(["/bin/mine", "true"]));
    let output = ends(container, &format!("rm '{}'", program.display()))?.success()?;
    let words = ["/bin/mine", "no such file or directory"];
    ensure!(words.iter().all(|word| output.stderr.contains(word)), "{output:?}");
    same!(output.lines(), ["Some(255) None"]);
    Ok(())
}

/// Has a filter, in place before the last capabilities are dropped, kill whoever drops them.
fn kill_at_capset(container: &mut Container) {
    container.set("/process/noNewPrivileges", json!(false));
    container.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["capset"], "action": "SCMP_ACT_KILL_PROCESS" }],
        }),
    );
}

const KILLED: [&str; 2] = ["killed by signal 31 before its program was executed", "/linux/seccomp"];

/// The socket of a process that dies closes as that of one that executes a program. Who reaps it is not done with it
/// at once, as engines are not.
fn killed_before_the_program(container: &mut Container) -> Test {
    kill_at_capset(container);
    let output = ends(container, "true")?;
    output.fails(2, &KILLED)?;
    same!(container.state()?["status"], "stopped");
    Ok(())
}

fn killed_before_the_program_by_run(container: &mut Container) -> Test {
    kill_at_capset(container);
    for flags in [&[][..], &["--detach"]] {
        container.run_with(flags)?.fails(1, &KILLED)?;
        container.nothing_left()?;
    }
    Ok(())
}

fn killed_before_the_program_by_exec(container: &mut Container) -> Test {
    kill_at_capset(container);
    container.create()?.success()?;
    for flags in [&[][..], &["--detach"]] {
        container.exec_with(flags, &["true"])?.fails(255, &KILLED)?;
    }
    Ok(())
}

/// A process whose first thread has ended is shown as a zombie, and lives as long as it has another.
fn one_thread_is_left(container: &mut Container) -> Test {
    lose_the_first_thread(container)?;
    same!(container.state()?["status"], "running");
    container.verb("delete")?.fails(1, &["not stopped: running"])?;
    container.runtime(&["kill", &container.id, "KILL"])?.success()?;
    container.wait_for("stopped")?;
    container.verb("delete")?.success()?;
    container.create()?.success()?;
    container.verb("start")?.success()?;
    container.wait_for_file("report/made")?;
    container.delete_force()?;
    container.nothing_left()
}

/// Starts it, and waits until its first thread has ended.
pub(crate) fn lose_the_first_thread(container: &mut Container) -> Test {
    add_hostile(container)?;
    container.set("/process/args", json!(["/hostile", threads::FLAG, "/report/made"]));
    container.set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["getpriority"], "action": "SCMP_ACT_KILL_THREAD" }],
        }),
    );
    container.create()?.success()?;
    container.verb("start")?.success()?;
    container.wait_for_file("report/made")?;
    let stat = format!("/proc/{}/stat", container.pid()?);
    wait_until("the first thread ends", || Ok(fs::read_to_string(&stat)?.contains(") Z ")))
}
