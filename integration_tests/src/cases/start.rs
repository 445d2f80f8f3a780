//! `start`, and the socket at which aril's init waits for it.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use serde_json::json;

use super::{Test, cases, same};
use crate::command::{wait, wait_until};
use crate::container::{Container, Skip};

cases!("start":
    one_of_many_starts, who_says_nothing_starts_nothing,
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
