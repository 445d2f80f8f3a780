//! `--pidfd-socket`: whoever called gets the pidfd of the new process.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use anyhow::{Context as _, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Signal, pidfd_send_signal};

use super::{Test, cases, same};
use crate::command::Output;
use crate::container::Container;

cases!("pidfd_sockets":
    of_create, of_run, of_the_foreground, of_exec, missing, missing_for_exec, hangs_up, hangs_up_on_exec,
);

/// Runs a command that connects to the socket at `path`: its output, and the word and the pidfd that came.
fn with_socket(
    container: &Container,
    run: impl Fn(&str) -> anyhow::Result<Output>,
) -> anyhow::Result<(Output, String, OwnedFd)> {
    let path = path(container);
    let listener = UnixListener::bind(&path)?;
    listener.set_nonblocking(true)?;
    let output = run(&path);
    fs::remove_file(&path)?;
    let output = output?;
    let (stream, _) = listener.accept().with_context(|| format!("nobody connects: {output:?}"))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0; 64];
    let length = recvmsg(
        stream.as_fd(),
        &mut [IoSliceMut::new(&mut word)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?
    .bytes;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let pidfd = descriptors.flatten().next().context("no descriptor")?;
    Ok((output, String::from_utf8_lossy(&word[..length]).into_owned(), pidfd))
}

/// A bundle's path may be too long for a socket's.
fn path(container: &Container) -> String {
    let name = format!("pidfd-{}-{:p}", std::process::id(), container);
    std::env::temp_dir().join(name).display().to_string()
}

/// The process of a pidfd (`/proc/self/fdinfo`); -1 when it has been reaped.
fn pid_of(pidfd: &OwnedFd) -> anyhow::Result<i64> {
    use std::os::fd::AsRawFd as _;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:")).context("it is no pidfd")?;
    Ok(line.trim().parse()?)
}

fn has_ended(pidfd: &OwnedFd) -> anyhow::Result<bool> {
    let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&timeout))? == 1)
}

fn of_create(container: &mut Container) -> Test {
    container.script("exec sleep 100");
    let (output, word, pidfd) =
        with_socket(container, |path| container.create_with(&["--pidfd-socket", path]))?;
    output.success()?;
    same!(word, "standard");
    same!(pid_of(&pidfd)?, container.pid()?);
    container.verb("start")?.success()?;
    pidfd_send_signal(&pidfd, Signal::KILL)?;
    container.wait_for("stopped")
}

fn of_run(container: &mut Container) -> Test {
    container.script("exec sleep 100");
    let (output, word, pidfd) =
        with_socket(container, |path| container.run_with(&["--detach", "--pidfd-socket", path]))?;
    output.success()?;
    same!(word, "standard");
    same!(pid_of(&pidfd)?, container.pid()?);
    Ok(())
}

fn of_the_foreground(container: &mut Container) -> Test {
    container.script("exit 4");
    let (output, word, pidfd) =
        with_socket(container, |path| container.run_with(&["--pidfd-socket", path]))?;
    same!(output.code, 4);
    same!(word, "standard");
    ensure!(has_ended(&pidfd)?, "it is another process's");
    container.nothing_left()
}

fn of_exec(container: &mut Container) -> Test {
    container.start_idle()?;
    let pid_file = container.file("pid");
    let (output, word, pidfd) = with_socket(container, |path| {
        let flags = ["--detach", "--pid-file", &pid_file, "--pidfd-socket", path];
        container.exec_with(&flags, &["sleep", "50"])
    })?;
    output.success()?;
    same!(word, "setns");
    same!(pid_of(&pidfd)?, fs::read_to_string(&pid_file)?.parse::<i64>()?);
    Ok(())
}

fn missing(container: &mut Container) -> Test {
    let path = path(container);
    for output in [
        container.create_with(&["--pidfd-socket", &path])?,
        container.run_with(&["--pidfd-socket", &path])?,
    ] {
        container.refused(&output, &["pidfd-socket", &path, "no such file or directory"])?;
    }
    Ok(())
}

fn missing_for_exec(container: &mut Container) -> Test {
    container.start_idle()?;
    let output = container.exec_with(&["--pidfd-socket", &path(container)], &["true"])?;
    output.fails(255, &["pidfd-socket", "no such file or directory"])?;
    same!(container.pids()?.len(), 1);
    Ok(())
}

/// Has the other side end each connection at once.
fn with_deaf_socket(
    container: &Container,
    run: impl FnOnce(&str) -> anyhow::Result<Output>,
) -> anyhow::Result<Output> {
    let path = path(container);
    let listener = UnixListener::bind(&path)?;
    let deaf = std::thread::spawn(move || {
        drop(listener.accept());
        drop(listener);
    });
    let output = run(&path);
    // In case that nobody has.
    drop(UnixStream::connect(&path));
    fs::remove_file(&path)?;
    let output = output?;
    ensure!(deaf.join().is_ok(), "the thread panicked");
    Ok(output)
}

fn hangs_up(container: &mut Container) -> Test {
    let output =
        with_deaf_socket(container, |path| container.create_with(&["--pidfd-socket", path]))?;
    container.refused(&output, &["pidfd", "broken pipe"])
}

fn hangs_up_on_exec(container: &mut Container) -> Test {
    container.start_idle()?;
    let output = with_deaf_socket(container, |path| {
        container.exec_with(&["--pidfd-socket", path], &["sleep", "50"])
    })?;
    output.fails(255, &["pidfd", "broken pipe"])?;
    same!(container.pids()?.len(), 1);
    Ok(())
}
