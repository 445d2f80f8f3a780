//! The mounts of this process's mount namespace, proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use anyhow::Context as _;

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its number, the same for as long as it is there.
    pub id: String,
    /// Where it is.
    pub point: PathBuf,
    /// The options of the mount, not those of the filesystem.
    pub options: String,
    /// Such as `shared:1 master:2`; empty for a private one.
    pub propagation: String,
    pub filesystem: String,
    pub source: String,
}

/// All of them, a mount after the one that it is on.
pub(crate) fn load() -> anyhow::Result<Vec<Mount>> {
    let text = fs::read("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let parse = |line| {
        parse(line).with_context(|| format!("not a mount: {}", String::from_utf8_lossy(line)))
    };
    lines.map(parse).collect()
}

fn parse(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let text = |at: usize| Some(String::from_utf8_lossy(fields.get(at)?).into_owned());
    let dash = fields.iter().position(|field| *field == b"-")?;
    Some(Mount {
        id: text(0)?,
        point: decode(fields.get(4)?),
        options: text(5)?,
        propagation: String::from_utf8_lossy(&fields.get(6..dash)?.join(&b' ')).into_owned(),
        filesystem: text(dash + 1)?,
        source: text(dash + 2)?,
    })
}

/// The kernel writes a space, tab, newline or backslash of a path as its number, `\040`.
fn decode(mut field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    while let [first, rest @ ..] = field {
        let octal = rest.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|octal| u8::from_str_radix(str::from_utf8(octal).ok()?, 8).ok());
        path.push(octal.unwrap_or(*first));
        field = if octal.is_some() { &rest[3..] } else { rest };
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        let line = br"36 35 98:0 /of/it /a\040b\134c rw,noatime shared:1 master:2 - ext4 /dev/x rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount.point, PathBuf::from(r"/a b\c"));
        assert_eq!((&*mount.id, &*mount.propagation), ("36", "shared:1 master:2"));
        assert_eq!((&*mount.filesystem, &*mount.source), ("ext4", "/dev/x"));
        assert_eq!(parse(b"36 35 98:0 / /x rw - tmpfs none rw").unwrap().propagation, "");
        assert_eq!(parse(b"36 35"), None);
    }

    #[test]
    fn paths_are_decoded() {
        for (field, path) in
            [(r"/a\011b", "/a\tb"), (r"/a\", r"/a\"), (r"/\9", r"/\9"), ("/é", "/é")]
        {
            assert_eq!(decode(field.as_bytes()), PathBuf::from(path));
        }
    }
}
