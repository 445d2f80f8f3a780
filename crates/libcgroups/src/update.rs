//! Limits that take the place of others, all or none.

use std::path::{Path, PathBuf};

use crate::limits::Write;
use crate::{Error, files};

/// What a cgroup has now, as far as new limits depend on it. What a hierarchy or kernel lacks is absent; `max` is -1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// The limit of memory, in bytes.
    pub memory: Option<i64>,
    /// v1: the limit of memory and swap together, in bytes.
    pub memory_and_swap: Option<i64>,
    /// v2: the limit of swap alone, in bytes.
    pub swap: Option<i64>,
    /// How much memory is in use, in bytes.
    pub memory_in_use: Option<i64>,
    /// v2: the time in each period, in microseconds.
    pub cpu_quota: Option<i64>,
}

impl Present {
    /// Of a v1 memory cgroup.
    pub(crate) fn of_legacy(directory: &Path) -> Self {
        let number = |name| number(directory, name);
        Self {
            memory: number("memory.limit_in_bytes"),
            memory_and_swap: number("memory.memsw.limit_in_bytes"),
            memory_in_use: number("memory.usage_in_bytes"),
            ..Self::default()
        }
    }

    /// Of a v2 cgroup.
    pub(crate) fn of_unified(directory: &Path) -> Self {
        let number = |name| number(directory, name);
        Self {
            memory: number("memory.max"),
            swap: number("memory.swap.max"),
            memory_in_use: number("memory.current"),
            cpu_quota: number("cpu.max"),
            ..Self::default()
        }
    }

    /// What this lacks, from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            memory: self.memory.or(other.memory),
            memory_and_swap: self.memory_and_swap.or(other.memory_and_swap),
            swap: self.swap.or(other.swap),
            memory_in_use: self.memory_in_use.or(other.memory_in_use),
            cpu_quota: self.cpu_quota.or(other.cpu_quota),
        }
    }
}

/// The first number of a file.
fn number(directory: &Path, name: &str) -> Option<i64> {
    let text = files::read(&directory.join(name)).ok()?;
    match text.split_whitespace().next()? {
        "max" => Some(-1),
        number => number.parse().ok(),
    }
}

/// Limits that have been changed, and what they were.
#[derive(Debug, Default)]
pub(crate) struct Changed(Vec<(PathBuf, Option<String>)>);

/// Does all of `writes`, each in its directory; where one is refused those before it are undone.
///
/// # Errors
/// The one that was refused, or [`Error::NotPutBack`] where something could not be undone.
pub(crate) fn all_or_none<'a>(
    writes: impl IntoIterator<Item = (&'a Write, &'a Path)>,
) -> Result<Changed, Error> {
    let mut changed = Changed::default();
    for (write, directory) in writes {
        let (file, value) = files::of_this_kernel(write, directory);
        let path = directory.join(file);
        let old = old_value(&path, file, value);
        match files::set(write, directory) {
            Ok(()) => changed.0.push((path, old)),
            Err(refused) => return Err(changed.put_back(refused)),
        }
    }
    Ok(changed)
}

impl Changed {
    /// Undoes the changes, the last first, since `refused`. The error that remains.
    pub(crate) fn put_back(self, refused: Error) -> Error {
        let mut error = refused;
        for (path, old) in self.0.into_iter().rev() {
            let is_back = old.is_some_and(|old| files::write(&path, &old).is_ok());
            if !is_back {
                error = Error::NotPutBack { path, refused: Box::new(error) };
            }
        }
        error
    }
}

/// What has to be written to `path`, a file of this name, to have the present value again after `value`.
fn old_value(path: &Path, file: &str, value: &str) -> Option<String> {
    let text = files::read(path).ok()?;
    Some(before(file, value, text.trim()))
}

/// The same from the text of `file`, to which `value` is written.
fn before(file: &str, value: &str, text: &str) -> String {
    if let Some(default) = default_of_a_key(file)
        && let Some((key, _)) = value.split_once(' ')
    {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(key));
        return line.map_or_else(|| format!("{key} {default}"), str::to_owned);
    }
    match (file, text.split_whitespace().nth(1), text) {
        // "oom_kill_disable 0", and lines that cannot be written.
        ("memory.oom_control", Some(disabled), _) => disabled.to_owned(),
        // A write of nothing would be none.
        (_, _, "") => "\n".to_owned(),
        (_, _, text) => text.to_owned(),
    }
}

/// For a file with a line for each device: what one has that is not listed.
fn default_of_a_key(file: &str) -> Option<&'static str> {
    match file {
        "io.max" => Some("rbps=max wbps=max riops=max wiops=max"),
        "io.weight" | "io.bfq.weight" => Some("default"),
        "rdma.max" => Some("hca_handle=max hca_object=max"),
        "net_prio.ifpriomap" => Some("0"),
        _ if file.starts_with("blkio.throttle.") || file.ends_with("weight_device") => Some("0"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::before;

    #[test]
    fn what_brings_the_old_value_back() {
        for (file, value, text, expected) in [
            ("pids.max", "7", "max", "max"),
            ("cpu.max", "50000 100000", "max 100000", "max 100000"),
            ("cpuset.cpus", "0", "", "\n"),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0", "0"),
            (
                "io.max",
                "8:0 rbps=1",
                "8:16 rbps=2 wbps=max\n8:0 rbps=5 wbps=max",
                "8:0 rbps=5 wbps=max",
            ),
            ("io.max", "8:0 rbps=1", "", "8:0 rbps=max wbps=max riops=max wiops=max"),
            ("io.weight", "default 5", "default 100\n8:0 50", "default 100"),
            ("blkio.throttle.read_bps_device", "8:0 100", "8:16 7", "8:0 0"),
        ] {
            assert_eq!(before(file, value, text), expected, "{file} {value}");
        }
    }
}
