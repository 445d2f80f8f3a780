//! Terminals: through the console socket, and in the foreground.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::OpenptFlags;
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;

use super::{cases, same};
use crate::harness::Container;

type Test = anyhow::Result<()>;

cases!("terminal":
    console_socket, exec_console_socket, foreground, needs_a_socket, socket_without_terminal,
    console_size, socket_that_is_missing, cve_2026_88264_linked_console, cve_2025_52565_linked_console,
);

/// Accepts one connection and takes the descriptor that comes with its message.
fn accept_master(
    listener: &std::os::unix::net::UnixListener,
) -> anyhow::Result<(Vec<u8>, OwnedFd)> {
    let (stream, _) = listener.accept()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 4096];
    let mut slices = [std::io::IoSliceMut::new(&mut name)];
    let message = recvmsg(stream.as_fd(), &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let master = descriptors.flatten().next().context("no descriptor")?;
    Ok((name[..message.bytes].to_vec(), master))
}

/// Reads until `word` has come, or too long a time has passed.
fn read_until(master: &mut File, word: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !text.contains(word) {
        ensure!(Instant::now() < deadline, "{word:?} never comes: {text:?}");
        let mut buffer = [0; 1024];
        match master.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => text.push_str(&String::from_utf8_lossy(&buffer[..length])),
            Err(_) => break,
        }
    }
    ensure!(text.contains(word), "{word:?} is not in {text:?}");
    Ok(text)
}

fn socket(container: &Container) -> anyhow::Result<(std::os::unix::net::UnixListener, String)> {
    // A path of a bundle may be too long for a socket.
    let path = std::env::temp_dir().join(format!(
        "{:x}.sock",
        std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), &container.id)
    ));
    Ok((std::os::unix::net::UnixListener::bind(&path)?, path.display().to_string()))
}

fn console_socket(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container
        .script("tty; ls -l /dev/console; readlink /proc/self/fd/0; read line; echo got $line");
    container.save()?;
    let (listener, path) = socket(container)?;
    let output = container.runtime(&[
        "create",
        "--bundle",
        &container.bundle(),
        "--console-socket",
        &path,
        &container.id,
    ])?;
    std::fs::remove_file(&path)?;
    output.success()?;
    let (name, master) = accept_master(&listener)?;
    ensure!(!name.is_empty() && name.len() < 4096, "{name:?}");
    let mut master = File::from(master);
    container.verb("start")?.success()?;
    let text = read_until(&mut master, "/dev/pts/0")?;
    ensure!(text.contains("/dev/"), "{text}");
    master.write_all(b"hello\n")?;
    read_until(&mut master, "got hello")?;
    Ok(())
}

fn exec_console_socket(container: &mut Container) -> Test {
    container.start_script("sleep 100")?;
    let (listener, path) = socket(container)?;
    let id = container.id.clone();
    let output = container.runtime(&[
        "exec",
        "--tty",
        "--detach",
        "--console-socket",
        &path,
        &id,
        "sh",
        "-c",
        "tty; sleep 1",
    ])?;
    std::fs::remove_file(&path)?;
    output.success()?;
    let (_, master) = accept_master(&listener)?;
    read_until(&mut File::from(master), "/dev/pts/0")?;
    Ok(())
}

fn foreground(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.script("stty size; read line; echo got $line; exit 6");
    container.save()?;
    let master =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    let slave = File::from(rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY,
    )?);
    tcsetwinsize(&slave, Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 })?;
    let mut command = container.command(&["run", "--bundle", &container.bundle(), &container.id]);
    command
        .stdin(Stdio::from(slave.try_clone()?))
        .stdout(Stdio::from(slave.try_clone()?))
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    drop(command);
    let mut master = File::from(master);
    let seen = read_until(&mut master, "33 77").and_then(|_| {
        master.write_all(b"hello\r")?;
        read_until(&mut master, "got hello")
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while seen.is_ok() && child.try_wait()?.is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let status = child.wait()?;
    seen?;
    same!(status.code(), Some(6));
    Ok(())
}

fn needs_a_socket(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.create_refused(&["console"])
}

fn socket_without_terminal(container: &mut Container) -> Test {
    container.save()?;
    let (_listener, path) = socket(container)?;
    let output = container.runtime(&[
        "create",
        "--bundle",
        &container.bundle(),
        "--console-socket",
        &path,
        &container.id,
    ])?;
    std::fs::remove_file(&path)?;
    container.refused(&output, &["terminal"])
}

fn socket_that_is_missing(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.save()?;
    let output = container.runtime(&[
        "create",
        "--bundle",
        &container.bundle(),
        "--console-socket",
        "/no/such.sock",
        &container.id,
    ])?;
    container.refused(&output, &["/no/such.sock"])
}

fn create_with_socket(
    container: &Container,
) -> anyhow::Result<(crate::harness::Output, Option<OwnedFd>)> {
    container.save()?;
    let (listener, path) = socket(container)?;
    let output = container.runtime(&[
        "create",
        "--bundle",
        &container.bundle(),
        "--console-socket",
        &path,
        &container.id,
    ])?;
    std::fs::remove_file(&path)?;
    let master = (output.code == 0).then(|| accept_master(&listener)).transpose()?;
    Ok((output, master.map(|(_, master)| master)))
}

fn console_size(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    container.set("/process/consoleSize", json!({ "height": 21, "width": 63 }));
    container.script("stty size");
    let (output, master) = create_with_socket(container)?;
    output.success()?;
    container.verb("start")?.success()?;
    read_until(&mut File::from(master.context("no master")?), "21 63")?;
    Ok(())
}

fn cve_2026_88264_linked_console(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    if let Some(mounts) = container.config["mounts"].as_array_mut() {
        mounts.retain(|mount| {
            mount["destination"] != "/dev"
                && mount["destination"] != "/dev/shm"
                && mount["destination"] != "/dev/mqueue"
        });
    }
    std::fs::create_dir_all(container.rootfs().join("dev/pts"))?;
    let target = format!("/../../../..{}/new", container.victim.display());
    std::os::unix::fs::symlink(target, container.rootfs().join("dev/console"))?;
    let _ = create_with_socket(container)?;
    same!(std::fs::read_dir(&container.victim)?.count(), 0);
    Ok(())
}

fn cve_2025_52565_linked_console(container: &mut Container) -> Test {
    container.set("/process/terminal", json!(true));
    if let Some(mounts) = container.config["mounts"].as_array_mut() {
        mounts.retain(|mount| {
            mount["destination"] != "/dev"
                && mount["destination"] != "/dev/shm"
                && mount["destination"] != "/dev/mqueue"
        });
    }
    std::fs::create_dir_all(container.rootfs().join("dev/pts"))?;
    std::os::unix::fs::symlink("/proc/sysrq-trigger", container.rootfs().join("dev/console"))?;
    let (output, _master) = create_with_socket(container)?;
    if output.code == 0 {
        let text = std::fs::read_to_string(format!("/proc/{}/mountinfo", container.pid()?))?;
        ensure!(
            !text.lines().any(|line| line.contains("sysrq-trigger") && line.contains("devpts")),
            "{text}"
        );
    }
    Ok(())
}
