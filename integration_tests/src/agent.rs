//! An agent as of config-linux.md, "Seccomp": it is notified of system calls, and answers.

use std::fs;
use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use libsyscall::unotify::{self, Answer, Notification};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

use crate::container::Container;

/// How often somebody who waits looks whether it is still to.
const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// How long somebody who shall come is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket at which it listens.
pub(crate) struct Agent {
    path: PathBuf,
    listener: UnixListener,
}

/// What answers: it gets the listener too, for what else can be done with it.
pub(crate) type Judge<'a> = dyn Fn(BorrowedFd<'_>, &Notification) -> Answer + Sync + 'a;

impl Agent {
    /// Listens beside the bundle, whose path may be too long for a socket's.
    pub(crate) fn listen(container: &Container) -> anyhow::Result<Self> {
        let name = format!("agent-{}-{:p}", std::process::id(), container);
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { path, listener })
    }

    /// The path for the config.
    pub(crate) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Accepts one connection, if it comes in time.
    pub(crate) fn accept(&self) -> anyhow::Result<UnixStream> {
        let begin = Instant::now();
        while readiness(&self.listener)?.is_empty() {
            ensure!(begin.elapsed() < PATIENCE, "nobody has connected to the agent");
        }
        connected(&self.listener)
    }

    /// Does `action` while whoever has a filter of this agent's is answered by `judge`; what it gives, and all container
    /// process states that have come meanwhile.
    pub(crate) fn during<T>(
        &self,
        judge: &Judge<'_>,
        action: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Vec<Value>)> {
        let (is_over, states) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        let given = std::thread::scope(|scope| {
            let listens = scope.spawn(|| self.serve(scope, &is_over, &states, judge));
            let given = action();
            is_over.store(true, Ordering::Relaxed);
            let served = listens.join().map_err(|_| anyhow::anyhow!("the agent panicked"));
            given.and_then(|given| served?.map(|()| given))
        })?;
        let states = states.into_inner().ok().context("the agent panicked")?;
        Ok((given, states))
    }

    fn serve<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        is_over: &'scope AtomicBool,
        states: &'scope Mutex<Vec<Value>>,
        judge: &'scope Judge<'_>,
    ) -> anyhow::Result<()> {
        while !is_over.load(Ordering::Relaxed) {
            if readiness(&self.listener)?.is_empty() {
                continue;
            }
            let (state, filter) = receive(&connected(&self.listener)?)?;
            states.lock().ok().context("the agent panicked")?.push(state);
            scope.spawn(move || judge_all(&filter, is_over, judge));
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The connection that waits, whose reads end.
fn connected(listener: &UnixListener) -> anyhow::Result<UnixStream> {
    let stream = listener.accept()?.0;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A container process state, and the listener that comes with it: the other side may keep the connection open.
pub(crate) fn receive(stream: &UnixStream) -> anyhow::Result<(Value, OwnedFd)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 4096];
    let mut slices = [IoSliceMut::new(&mut text)];
    let length = recvmsg(stream, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let filter = descriptors.flatten().next().context("no descriptor comes with the state")?;
    let mut documents =
        serde_json::Deserializer::from_reader(text[..length].chain(stream)).into_iter();
    let state = documents.next().context("the connection ends before there is a state")?;
    Ok((state?, filter))
}

/// Answers until nobody has the filter any more.
fn judge_all(filter: &OwnedFd, is_over: &AtomicBool, judge: &Judge<'_>) -> anyhow::Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        let ready = readiness(filter)?;
        if ready.contains(PollFlags::HUP) {
            break;
        }
        if !ready.contains(PollFlags::IN) {
            continue;
        }
        // Whoever waited may have been killed.
        let gone = |errno| if errno == Errno::NOENT { Ok(()) } else { Err(errno) };
        match unotify::receive(filter.as_fd()) {
            Ok(call) => {
                let answer = judge(filter.as_fd(), &call);
                unotify::answer(filter.as_fd(), call.id, answer).or_else(gone)?;
            }
            Err(errno) => gone(errno)?,
        }
    }
    Ok(())
}

fn readiness(file: impl AsFd) -> anyhow::Result<PollFlags> {
    let mut polled = [PollFd::new(&file, PollFlags::IN)];
    poll(&mut polled, Some(&STEP))?;
    Ok(polled[0].revents())
}
