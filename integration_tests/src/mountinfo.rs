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
    let text = String::from_utf8_lossy(&text);
    text.lines().map(|line| parse(line).with_context(|| format!("not a mount: {line:?}"))).collect()
}

fn parse(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let place: Vec<&str> = place.split(' ').collect();
    let mut kind = kind.split(' ');
    Some(Mount {
        id: (*place.first()?).to_owned(),
        point: decode(place.get(4)?),
        options: (*place.get(5)?).to_owned(),
        propagation: place.get(6..)?.join(" "),
        filesystem: kind.next()?.to_owned(),
        source: kind.next()?.to_owned(),
    })
}

/// The kernel writes a space, tab, newline or backslash of a path as its number, `\040`.
fn decode(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = field.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                at += 4;
            }
            None => {
                path.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line() {
        let line = r"36 35 98:0 /of/it /a\040b\134c rw,noatime shared:1 master:2 - ext4 /dev/x rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount.point, PathBuf::from(r"/a b\c"));
        assert_eq!((&*mount.id, &*mount.propagation), ("36", "shared:1 master:2"));
        assert_eq!((&*mount.filesystem, &*mount.source), ("ext4", "/dev/x"));
        assert_eq!(parse("36 35 98:0 / /x rw - tmpfs none rw").unwrap().propagation, "");
        assert_eq!(parse("36 35"), None);
    }

    #[test]
    fn paths_are_decoded() {
        for (field, path) in
            [(r"/a\011b", "/a\tb"), (r"/a\", r"/a\"), (r"/\9", r"/\9"), ("/é", "/é")]
        {
            assert_eq!(decode(field), PathBuf::from(path));
        }
    }
}
