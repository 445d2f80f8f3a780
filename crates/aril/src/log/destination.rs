//! Where the log goes: a file, the journal of systemd, or syslog.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use anyhow::Context as _;

/// The journal's socket (systemd.io, "Journal Native Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The local socket of syslog(3).
const SYSLOG: &str = "/dev/log";
/// `LOG_USER` of syslog(3), by which priorities are multiplied with eight.
const USER_FACILITY: u8 = 1;
/// Who speaks.
const IDENTIFIER: &str = "aril";

/// An open log.
pub(super) enum Destination {
    /// A file that is appended to.
    File(File),
    /// The journal, with what its field `ID` says.
    Journal(UnixDatagram, Vec<u8>),
    /// syslog, with who is said to speak.
    Syslog(UnixDatagram, Vec<u8>),
}

impl Destination {
    /// Opens what `--log` names: `journald:ID` and `syslog:NAME` as in crun, `file:PATH`, or a path.
    ///
    /// # Errors
    /// Those of open(2), or of connect(2) where nobody listens.
    pub(super) fn open(named: &Path) -> anyhow::Result<Self> {
        let context = || format!("--log {named:?}");
        let bytes = named.as_os_str().as_bytes();
        let after = |prefix: &str| bytes.strip_prefix(prefix.as_bytes());
        if let Some(id) = after("journald:") {
            let socket = connect(JOURNAL).with_context(context)?;
            return Ok(Self::Journal(socket, id.to_owned()));
        }
        if let Some(name) = after("syslog:") {
            let socket = connect(SYSLOG).with_context(context)?;
            let name = if name.is_empty() { IDENTIFIER.as_bytes() } else { name };
            return Ok(Self::Syslog(socket, name.to_owned()));
        }
        let path = OsStr::from_bytes(after("file:").unwrap_or(bytes));
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o644);
        options.open(path).map(Self::File).with_context(context)
    }

    /// Whether the line is to say when it was written, and how grave it is: others know that of each message.
    pub(super) const fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Writes one line, without its end.
    ///
    /// # Errors
    /// Those of write(2) and send(2).
    pub(super) fn write(&self, level: &str, line: &str) -> std::io::Result<()> {
        match self {
            Self::File(file) => {
                let mut file: &File = file;
                file.write_all(format!("{line}\n").as_bytes())
            }
            Self::Journal(socket, id) => {
                socket.send(&journal_entry(priority(level), line, id)).map(drop)
            }
            Self::Syslog(socket, name) => {
                let head = format!("<{}>", USER_FACILITY * 8 + priority(level));
                let parts = [head.as_bytes(), name, b": ", line.as_bytes()];
                socket.send(&parts.concat()).map(drop)
            }
        }
    }
}

fn connect(path: &str) -> anyhow::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound().context("socket")?;
    socket.connect(path).with_context(|| format!("connect to {path}: is there one to log to?"))?;
    Ok(socket)
}

/// `LOG_ERR` and `LOG_WARNING` of syslog(3).
fn priority(level: &str) -> u8 {
    if level == "error" { 3 } else { 4 }
}

/// An entry in the journal's own form: what it asks for where a value may hold any byte.
fn journal_entry(priority: u8, message: &str, id: &[u8]) -> Vec<u8> {
    let priority = priority.to_string();
    let fields = [
        ("MESSAGE", message.as_bytes()),
        ("PRIORITY", priority.as_bytes()),
        ("SYSLOG_IDENTIFIER", IDENTIFIER.as_bytes()),
        ("ID", id),
    ];
    let mut entry = Vec::new();
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        entry.extend(name.as_bytes());
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
        entry.extend(value);
        entry.push(b'\n');
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::journal_entry;

    #[test]
    fn an_entry_has_a_length_before_each_value() {
        let entry = journal_entry(3, "no", b"a\nb");
        let expected = b"MESSAGE\n\x02\0\0\0\0\0\0\0no\nPRIORITY\n\x01\0\0\0\0\0\0\x003\n\
            SYSLOG_IDENTIFIER\n\x04\0\0\0\0\0\0\0aril\nID\n\x03\0\0\0\0\0\0\0a\nb\n";
        assert_eq!(entry, expected);
        assert!(!journal_entry(3, "no", b"").windows(3).any(|part| part == b"ID\n"));
    }
}
