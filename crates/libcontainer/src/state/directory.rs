//! A container's directory: it claims the id, and holds `state.json`.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::State;
use crate::plan::validate_id;
use crate::{Context, Error, ErrorKind, Result};

/// The file in a state directory.
const FILE: &str = "state.json";

/// Where the next version is written before it takes the file's name.
const NEXT_FILE: &str = ".state.json.next";

/// A container's directory below the root (`--root`).
#[derive(Debug)]
pub(crate) struct StateDirectory {
    /// Absolute path.
    pub path: PathBuf,
    fd: OwnedFd,
}

impl StateDirectory {
    /// Makes the directory of a new container: this claims the id.
    pub(crate) fn claim(context: &Context, id: &str) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o711);
        let path = context.root.join(id);
        let made = builder.create(&path).or_else(|error| {
            if error.kind() != std::io::ErrorKind::NotFound {
                return Err(error);
            }
            std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&context.root)?;
            builder.create(&path)
        });
        match made {
            Ok(()) => Ok(open_directory(path)?),
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
        match rustix::fs::open(&path, DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Self { path, fd }),
            Err(Errno::NOENT) => Err(Error::not_found()),
            Err(errno) => Err(anyhow::Error::new(errno)
                .context(format!("open the state directory {}", path.display()))
                .into()),
        }
    }

    /// Loads the state; nothing when a `create` died before its first save.
    pub(crate) fn load(&self) -> anyhow::Result<Option<State>> {
        let path = self.path.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| {
                    format!("{} is damaged; delete --force removes it", path.display())
                })
                .map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
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

    /// Whether the file `name` is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        rustix::fs::accessat(&self.fd, name, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Removes the file `name`; whether it was there.
    pub(crate) fn unlink(&self, name: &str) -> anyhow::Result<bool> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).with_context(|| format!("unlink {name}")),
        }
    }

    /// A path for bind(2) and connect(2) that is short whatever the directory's length.
    pub(crate) fn short_path(&self, name: &str) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        Path::new("/proc/self/fd").join(self.fd.as_raw_fd().to_string()).join(name)
    }

    /// Removes the directory and frees the id.
    pub(crate) fn remove(self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open_directory(path: PathBuf) -> anyhow::Result<StateDirectory> {
    let fd = rustix::fs::open(&path, DIRECTORY, Mode::empty())
        .with_context(|| format!("open {}", path.display()))?;
    Ok(StateDirectory { path, fd })
}

/// Loads an existing container; an unfinished `create` counts as not there.
pub(crate) fn load(context: &Context, id: &str) -> Result<(StateDirectory, State)> {
    let directory = StateDirectory::open(context, id)?;
    let state = directory.load()?.ok_or_else(Error::not_found)?;
    Ok((directory, state))
}
