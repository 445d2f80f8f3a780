//! A container's directory: it claims the id, and holds `state.json`.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use serde::Deserialize;

use super::{Remains, State, Status, VERSION};
use crate::plan::validate_id;
use crate::{Context, Error, ErrorKind, Result};

/// The file in a state directory.
const FILE: &str = "state.json";

/// Where the next version is written before it takes the file's name.
const NEXT_FILE: &str = ".state.json.next";

/// How long a command waits for another that is at work on the same container.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks.
const PAUSE: Duration = Duration::from_millis(5);

/// A container's directory below the root (`--root`).
#[derive(Debug)]
pub(crate) struct StateDirectory {
    /// Absolute path.
    path: PathBuf,
    fd: OwnedFd,
}

/// A container's directory with its lock held (flock(2)): only who has it changes the container. Init has a copy of the
/// descriptor until it closes what is the host's, before it is ready.
#[derive(Debug)]
pub(crate) struct LockedDirectory(StateDirectory);

impl std::ops::Deref for LockedDirectory {
    type Target = StateDirectory;

    fn deref(&self) -> &StateDirectory {
        &self.0
    }
}

impl StateDirectory {
    /// Makes the directory of a new container: this claims the id.
    pub(crate) fn claim(context: &Context, id: &str) -> Result<LockedDirectory> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700);
        let path = context.root.join(id);
        let made = builder.create(&path).or_else(|error| {
            if error.kind() != std::io::ErrorKind::NotFound {
                return Err(error);
            }
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&context.root)?;
            builder.create(&path)
        });
        match made {
            Ok(()) => Self::open(context, id).and_then(Self::lock).inspect_err(|_| {
                // Nobody has it yet.
                let _ = std::fs::remove_dir(&path);
            }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::new(ErrorKind::AlreadyExists, "container with given ID already exists"))
            }
            Err(error) => Err(anyhow::Error::new(error)
                .context(format!("make the state directory {}: mkdir", path.display()))
                .into()),
        }
    }

    /// Opens the directory of an existing container.
    pub(crate) fn open(context: &Context, id: &str) -> Result<Self> {
        validate_id(id).map_err(|reason| Error::invalid_id(&reason))?;
        let path = context.root.join(id);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { path, fd }),
            Err(Errno::NOENT) => Err(Error::not_found()),
            Err(errno) => Err(anyhow::Error::new(errno)
                .context(format!("open the state directory {}", path.display()))
                .into()),
        }
    }

    /// Takes the lock, if nobody has it.
    pub(crate) fn try_lock(self) -> anyhow::Result<std::result::Result<LockedDirectory, Self>> {
        match flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Ok(LockedDirectory(self))),
            Err(Errno::WOULDBLOCK) => Ok(Err(self)),
            Err(errno) => Err(errno).context("lock the state directory: flock"),
        }
    }

    /// Takes the lock, when whoever has it is done.
    ///
    /// # Errors
    /// That takes longer than anybody should wait.
    pub(crate) fn lock(mut self) -> Result<LockedDirectory> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self = match self.try_lock()? {
                Ok(locked) => return Ok(locked),
                Err(directory) => directory,
            };
            if Instant::now() > deadline {
                let text = format!(
                    "another command has been at work on the container for {} s (a hook that does \
                     not end?): end that command first",
                    PATIENCE.as_secs()
                );
                return Err(Error::new(ErrorKind::Status, text));
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Loads the state; nothing when a `create` died before its first save.
    pub(crate) fn load(&self) -> anyhow::Result<Option<State>> {
        let path = self.path.join(FILE);
        let Some(bytes) = self.read()? else { return Ok(None) };
        let read = serde_json::from_slice::<State>(&bytes);
        let version = match &read {
            Ok(state) => state.version,
            Err(_) => {
                serde_json::from_slice(&bytes).map_or(VERSION, |Versioned { version }| version)
            }
        };
        if version != VERSION {
            bail!(
                "{} is of version {version}, and this runtime knows version {VERSION}: use the one \
                 that made it; delete --force removes the container",
                path.display()
            );
        }
        read.map(Some).with_context(|| {
            format!("{} is damaged; delete --force removes the container", path.display())
        })
    }

    /// Loads what can be read of the state; nothing when there is none.
    pub(crate) fn load_remains(&self) -> anyhow::Result<Option<Remains>> {
        let id = self.path.file_name().unwrap_or_default().to_string_lossy();
        Ok(self.read()?.map(|bytes| Remains::of(&bytes, &id)))
    }

    fn read(&self) -> anyhow::Result<Option<Vec<u8>>> {
        // By descriptor: the path may be another container's by now.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let failed = || format!("read {}", self.path.join(FILE).display());
        let fd = match rustix::fs::openat(&self.fd, FILE, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno).with_context(failed),
        };
        let mut bytes = Vec::new();
        std::fs::File::from(fd).read_to_end(&mut bytes).with_context(failed)?;
        Ok(Some(bytes))
    }

    /// Whether the file `name` is there.
    pub(crate) fn has(&self, name: &str) -> anyhow::Result<bool> {
        let exists = rustix::fs::Access::EXISTS;
        match rustix::fs::accessat(&self.fd, name, exists, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).with_context(|| format!("look for {name}")),
        }
    }

    /// A path for bind(2) and connect(2) that is short whatever the directory's length.
    pub(crate) fn short_path(&self, name: &str) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        Path::new("/proc/self/fd").join(self.fd.as_raw_fd().to_string()).join(name)
    }
}

impl LockedDirectory {
    /// Makes the directory `name` in it, with this mode whatever the umask is.
    pub(crate) fn make_directory(&self, name: &str, mode: Mode) -> anyhow::Result<()> {
        rustix::fs::mkdirat(&self.fd, name, mode)
            .and_then(|()| rustix::fs::chmodat(&self.fd, name, mode, AtFlags::empty()))
            .with_context(|| format!("make the directory {name} of the state directory"))
    }

    /// Saves the state: the old or the new is there at any moment, never half of one.
    pub(crate) fn save(&self, state: &State) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec(state).context("write state.json")?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, NEXT_FILE, flags, Mode::RUSR | Mode::WUSR)
            .context("write state.json: open")?;
        std::fs::File::from(fd).write_all(&bytes).context("write state.json")?;
        rustix::fs::renameat(&self.fd, NEXT_FILE, &self.fd, FILE)
            .context("write state.json: rename")
    }

    /// Removes the file `name`; whether it was there.
    pub(crate) fn unlink(&self, name: &str) -> anyhow::Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).with_context(|| format!("unlink {name}")),
        }
    }

    /// Removes the directory and frees the id; what is removed already is fine, whoever has the id
    /// since.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        let own = rustix::fs::fstat(&self.fd).context("stat the state directory")?;
        let there = rustix::fs::stat(&self.path);
        if !there.is_ok_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)) {
            return Ok(());
        }
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// As much of a state as every version has.
#[derive(Deserialize)]
struct Versioned {
    #[serde(default)]
    version: u32,
}

/// Loads an existing container; an unfinished `create` counts as not there.
pub(crate) fn load(context: &Context, id: &str) -> Result<(StateDirectory, State)> {
    let directory = StateDirectory::open(context, id)?;
    let state = directory.load()?.ok_or_else(Error::not_found)?;
    Ok((directory, state))
}

/// Loads an existing container to change it, when nobody else does.
///
/// # Errors
/// It is being created, which may take as long as its hooks.
pub(crate) fn load_to_change(context: &Context, id: &str) -> Result<(LockedDirectory, State)> {
    let directory = match StateDirectory::open(context, id)?.try_lock()? {
        Ok(locked) => locked,
        Err(busy) => {
            let state = busy.load()?.ok_or_else(Error::not_found)?;
            if state.status(&busy)? == Status::Creating {
                let text = format!("container {id} is in the creating state: wait until it exists");
                return Err(Error::new(ErrorKind::Status, text));
            }
            busy.lock()?
        }
    };
    // Whoever had it may have removed it.
    let state = directory.load()?.ok_or_else(Error::not_found)?;
    Ok((directory, state))
}
