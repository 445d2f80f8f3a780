//! Mount options (runtime-spec, config.md, "Linux mount options"): one table for planning and for
//! the features document.

use std::ffi::CStr;

use libsyscall::mount::attribute::{
    ATIME, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, RELATIME, STRICTATIME,
};

/// `MOUNT_ATTR_*` bits to set and to clear (mount_setattr(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear; the atime bits are a field, cleared as a whole when one is set.
    pub clear: u64,
}

impl Attributes {
    /// Whether nothing is to be changed.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

/// A propagation type (mount_namespaces(7)), set on a mount or on all mounts below it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub flag: u64,
    /// Whether submounts are changed too (the `r` options).
    pub recursive: bool,
}

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Changes attributes of the mount.
    Attribute(Attributes),
    /// Changes attributes of the mount and of all below.
    RecursiveAttribute(Attributes),
    /// Sets a flag of the filesystem, which fsconfig(2) takes by this name.
    Superblock(&'static CStr),
    /// Makes it a bind mount, with submounts or without.
    Bind { recursive: bool },
    /// Sets the propagation type.
    Propagation(Propagation),
    /// Copies what is below the mount point, or not.
    CopyUp(bool),
    /// Asks for what is so anyway.
    Nothing,
    /// Maps the ids of the mount, or of all below too.
    MapIds { recursive: bool },
    /// Changes the mount that is there already.
    Remount,
    /// Of crun: a symbolic link is bound itself, as the source.
    SourceNoFollow,
    /// Of crun: a symbolic link is mounted on itself, as the destination.
    DestinationNoFollow,
    /// Of crun: a source that is a symbolic link is made again at the destination.
    CopySymlink,
}

/// Every option that is not a filesystem's own, sorted.
///
/// `iversion`, `silent` and their opposites have no counterpart in fsconfig(2), and need none: the
/// kernel counts changes wherever it can without being asked, and what it has to say goes to the
/// caller of fsconfig(2) instead of its log.
const TABLE: [(&str, Effect); 66] = [
    ("async", Effect::Superblock(c"async")),
    ("atime", atime(RELATIME)),
    ("bind", Effect::Bind { recursive: false }),
    ("copy-symlink", Effect::CopySymlink),
    ("defaults", Effect::Nothing),
    ("dest-nofollow", Effect::DestinationNoFollow),
    ("dev", clear(NODEV)),
    ("diratime", clear(NODIRATIME)),
    ("dirsync", Effect::Superblock(c"dirsync")),
    ("exec", clear(NOEXEC)),
    ("idmap", Effect::MapIds { recursive: false }),
    ("iversion", Effect::Nothing),
    ("lazytime", Effect::Superblock(c"lazytime")),
    ("loud", Effect::Nothing),
    ("mand", Effect::Superblock(c"mand")),
    ("noatime", atime(NOATIME)),
    ("nodev", set(NODEV)),
    ("nodiratime", set(NODIRATIME)),
    ("noexec", set(NOEXEC)),
    ("noiversion", Effect::Nothing),
    ("nolazytime", Effect::Superblock(c"nolazytime")),
    ("nomand", Effect::Superblock(c"nomand")),
    ("norelatime", atime(RELATIME)),
    ("nostrictatime", atime(RELATIME)),
    ("nosuid", set(NOSUID)),
    ("nosymfollow", set(NOSYMFOLLOW)),
    ("notmpcopyup", Effect::CopyUp(false)),
    ("private", propagation(PRIVATE, false)),
    ("ratime", recursive(atime(RELATIME))),
    ("rbind", Effect::Bind { recursive: true }),
    ("rdev", recursive(clear(NODEV))),
    ("rdiratime", recursive(clear(NODIRATIME))),
    ("relatime", atime(RELATIME)),
    ("remount", Effect::Remount),
    ("rexec", recursive(clear(NOEXEC))),
    ("ridmap", Effect::MapIds { recursive: true }),
    ("rnoatime", recursive(atime(NOATIME))),
    ("rnodev", recursive(set(NODEV))),
    ("rnodiratime", recursive(set(NODIRATIME))),
    ("rnoexec", recursive(set(NOEXEC))),
    ("rnorelatime", recursive(atime(RELATIME))),
    ("rnostrictatime", recursive(atime(RELATIME))),
    ("rnosuid", recursive(set(NOSUID))),
    ("rnosymfollow", recursive(set(NOSYMFOLLOW))),
    ("ro", set(RDONLY)),
    ("rprivate", propagation(PRIVATE, true)),
    ("rrelatime", recursive(atime(RELATIME))),
    ("rro", recursive(set(RDONLY))),
    ("rrw", recursive(clear(RDONLY))),
    ("rshared", propagation(SHARED, true)),
    ("rslave", propagation(SLAVE, true)),
    ("rstrictatime", recursive(atime(STRICTATIME))),
    ("rsuid", recursive(clear(NOSUID))),
    ("rsymfollow", recursive(clear(NOSYMFOLLOW))),
    ("runbindable", propagation(UNBINDABLE, true)),
    ("rw", clear(RDONLY)),
    ("shared", propagation(SHARED, false)),
    ("silent", Effect::Nothing),
    ("slave", propagation(SLAVE, false)),
    ("src-nofollow", Effect::SourceNoFollow),
    ("strictatime", atime(STRICTATIME)),
    ("suid", clear(NOSUID)),
    ("symfollow", clear(NOSYMFOLLOW)),
    ("sync", Effect::Superblock(c"sync")),
    ("tmpcopyup", Effect::CopyUp(true)),
    ("unbindable", propagation(UNBINDABLE, false)),
];

/// `MS_UNBINDABLE`, `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` (mount(2)).
const UNBINDABLE: u64 = 1 << 17;
pub(crate) const PRIVATE: u64 = 1 << 18;
pub(crate) const SLAVE: u64 = 1 << 19;
pub(crate) const SHARED: u64 = 1 << 20;

const fn set(bits: u64) -> Effect {
    Effect::Attribute(Attributes { set: bits, clear: 0 })
}

const fn clear(bits: u64) -> Effect {
    Effect::Attribute(Attributes { set: 0, clear: bits })
}

/// The settings of access times are one field, which is cleared as a whole to set it
/// (mount_setattr(2)).
const fn atime(value: u64) -> Effect {
    Effect::Attribute(Attributes { set: value, clear: ATIME })
}

const fn recursive(effect: Effect) -> Effect {
    match effect {
        Effect::Attribute(attributes) => Effect::RecursiveAttribute(attributes),
        other => other,
    }
}

const fn propagation(flag: u64, recursive: bool) -> Effect {
    Effect::Propagation(Propagation { flag, recursive })
}

/// What `option` does; nothing for an option that is a filesystem's own.
pub(crate) fn effect(option: &str) -> Option<Effect> {
    // With crun `idmap` and `ridmap` may have a value.
    let name = option.split_once('=').map(|(name, _)| name);
    let name = name.filter(|name| matches!(*name, "idmap" | "ridmap")).unwrap_or(option);
    let place = TABLE.binary_search_by_key(&name, |(name, _)| name).ok()?;
    TABLE.get(place).map(|(_, effect)| *effect)
}

/// All of them, for the features document.
pub fn mount_option_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// The parameters that an option of a filesystem's own stands for: with mount(2) the kernel would
/// split it at commas, fsconfig(2) takes one at a time. What is quoted or escaped stays together
/// (LSM contexts, directories of an overlay), without the quotes.
pub(crate) fn parameters(option: &str) -> Vec<(String, Option<String>)> {
    let (mut pieces, mut quoted, mut escaped) = (vec![String::new()], false, false);
    for letter in option.chars() {
        match letter {
            ',' if !quoted && !escaped => pieces.push(String::new()),
            '"' if !escaped => quoted = !quoted,
            letter => pieces.iter_mut().last().into_iter().for_each(|piece| piece.push(letter)),
        }
        escaped = letter == '\\' && !escaped;
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
        .into_iter()
        .map(|piece| match piece.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (piece, None),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Effect, TABLE, effect, parameters};

    #[test]
    fn the_table_is_sorted_for_the_search() {
        assert!(TABLE.is_sorted_by(|left, right| left.0 < right.0));
        assert!(TABLE.iter().all(|(name, found)| effect(name) == Some(*found)));
        assert_eq!(effect("size=5"), None);
        assert_eq!(effect("idmap=uids=0-1-2"), Some(Effect::MapIds { recursive: false }));
        assert_eq!(effect("ridmap="), Some(Effect::MapIds { recursive: true }));
        assert_eq!(effect("idmapped"), None);
    }

    #[test]
    fn every_option_of_the_spec_is_known() {
        let words = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud \
            noatime nodev nodiratime noexec noiversion nolazytime norelatime nostrictatime nosuid \
            private rbind relatime remount ro rprivate rshared rslave runbindable rw shared silent \
            slave strictatime suid sync unbindable nosymfollow symfollow idmap ridmap ratime rdev \
            rdiratime rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid \
            rnosymfollow rrelatime rro rrw rstrictatime rsuid rsymfollow mand nomand tmpcopyup";
        for word in words.split_whitespace() {
            assert!(effect(word).is_some(), "{word}");
        }
    }

    #[test]
    fn every_recursive_attribute_has_a_plain_one() {
        for (name, recursive) in TABLE {
            if let Effect::RecursiveAttribute(attributes) = recursive {
                let plain = effect(name.strip_prefix('r').unwrap());
                assert_eq!(plain, Some(Effect::Attribute(attributes)), "{name}");
            }
        }
    }

    #[test]
    fn an_attribute_and_its_opposite_are_about_the_same_bit() {
        let attributes = |name| match effect(name) {
            Some(Effect::Attribute(attributes)) => attributes,
            other => panic!("{name}: {other:?}"),
        };
        let pairs = [
            ("nodev", "dev"),
            ("noexec", "exec"),
            ("nosuid", "suid"),
            ("nosymfollow", "symfollow"),
            ("nodiratime", "diratime"),
            ("ro", "rw"),
        ];
        for (no, yes) in pairs {
            assert_eq!(attributes(no).set, attributes(yes).clear, "{no}");
            assert_ne!(attributes(no).set, 0, "{no}");
        }
    }

    #[test]
    fn an_option_of_a_filesystem_is_split_as_the_kernel_does() {
        let split = |option: &str| -> Vec<String> {
            let pair = |(key, value): (String, Option<String>)| match value {
                Some(value) => format!("{key}|{value}"),
                None => key,
            };
            parameters(option).into_iter().map(pair).collect()
        };
        assert_eq!(split("newinstance"), ["newinstance"]);
        assert_eq!(split("mode=1777,size=64k,,x"), ["mode|1777", "size|64k", "x"]);
        assert_eq!(split("lowerdir=/a\\,b:/c,ro"), ["lowerdir|/a\\,b:/c", "ro"]);
        assert_eq!(split("context=\"u:r:t:s0:c1,c2\",x=a=b"), ["context|u:r:t:s0:c1,c2", "x|a=b"]);
        assert_eq!(split("key="), ["key|"]);
        assert_eq!(split(""), [""; 0]);
    }
}
