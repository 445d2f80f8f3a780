//! Mount options (runtime-spec, config.md, "Linux mount options"): one table for planning and for
//! the features document.

use libsyscall::mount::attribute::{
    ATIME, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, RELATIME, STRICTATIME,
};

/// What an option does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Sets an attribute of the mount.
    Set(u64),
    /// Clears one.
    Clear(u64),
    /// Sets the field of access times.
    Atime(u64),
    /// Sets an attribute of the mount and of all below.
    SetRecursive(u64),
    /// Clears one.
    ClearRecursive(u64),
    /// Sets the field of access times of all.
    AtimeRecursive(u64),
    /// A flag of the filesystem instance, which fsconfig(2) takes by this name.
    Superblock(&'static str),
    /// Makes it a bind mount, with submounts or without.
    Bind { recursive: bool },
    /// Sets the propagation type.
    Propagation { flag: u64, recursive: bool },
    /// Copies what is below the mount point.
    CopyUp,
    /// Asks for what is so anyway.
    Nothing,
}

/// `MS_UNBINDABLE`, `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` (mount(2)).
const UNBINDABLE: u64 = 1 << 17;
const PRIVATE: u64 = 1 << 18;
const SLAVE: u64 = 1 << 19;
const SHARED: u64 = 1 << 20;

const fn propagation(flag: u64, recursive: bool) -> Effect {
    Effect::Propagation { flag, recursive }
}

/// Every option aril knows, sorted. `iversion`, `loud` and their opposites change nothing on any
/// filesystem since the kernel keeps change counters by itself and logs mounts at debug level.
const TABLE: [(&str, Effect); 65] = [
    ("async", Effect::Superblock("async")),
    ("atime", Effect::Atime(RELATIME)),
    ("bind", Effect::Bind { recursive: false }),
    ("defaults", Effect::Nothing),
    ("dev", Effect::Clear(NODEV)),
    ("diratime", Effect::Clear(NODIRATIME)),
    ("dirsync", Effect::Superblock("dirsync")),
    ("exec", Effect::Clear(NOEXEC)),
    ("iversion", Effect::Nothing),
    ("lazytime", Effect::Superblock("lazytime")),
    ("loud", Effect::Nothing),
    ("mand", Effect::Superblock("mand")),
    ("noatime", Effect::Atime(NOATIME)),
    ("nodev", Effect::Set(NODEV)),
    ("nodiratime", Effect::Set(NODIRATIME)),
    ("noexec", Effect::Set(NOEXEC)),
    ("noiversion", Effect::Nothing),
    ("nolazytime", Effect::Superblock("nolazytime")),
    ("nomand", Effect::Superblock("nomand")),
    ("norelatime", Effect::Atime(RELATIME)),
    ("nostrictatime", Effect::Atime(RELATIME)),
    ("nosuid", Effect::Set(NOSUID)),
    ("nosymfollow", Effect::Set(NOSYMFOLLOW)),
    ("notmpcopyup", Effect::Nothing),
    ("private", propagation(PRIVATE, false)),
    ("ratime", Effect::AtimeRecursive(RELATIME)),
    ("rbind", Effect::Bind { recursive: true }),
    ("rdev", Effect::ClearRecursive(NODEV)),
    ("rdiratime", Effect::ClearRecursive(NODIRATIME)),
    ("relatime", Effect::Atime(RELATIME)),
    ("rexec", Effect::ClearRecursive(NOEXEC)),
    ("rnoatime", Effect::AtimeRecursive(NOATIME)),
    ("rnodev", Effect::SetRecursive(NODEV)),
    ("rnodiratime", Effect::SetRecursive(NODIRATIME)),
    ("rnoexec", Effect::SetRecursive(NOEXEC)),
    ("rnorelatime", Effect::AtimeRecursive(RELATIME)),
    ("rnostrictatime", Effect::AtimeRecursive(RELATIME)),
    ("rnosuid", Effect::SetRecursive(NOSUID)),
    ("rnosymfollow", Effect::SetRecursive(NOSYMFOLLOW)),
    ("ro", Effect::Set(RDONLY)),
    ("rprivate", propagation(PRIVATE, true)),
    ("rrelatime", Effect::AtimeRecursive(RELATIME)),
    ("rro", Effect::SetRecursive(RDONLY)),
    ("rrw", Effect::ClearRecursive(RDONLY)),
    ("rshared", propagation(SHARED, true)),
    ("rslave", propagation(SLAVE, true)),
    ("rstrictatime", Effect::AtimeRecursive(STRICTATIME)),
    ("rsuid", Effect::ClearRecursive(NOSUID)),
    ("rsymfollow", Effect::ClearRecursive(NOSYMFOLLOW)),
    ("runbindable", propagation(UNBINDABLE, true)),
    ("rw", Effect::Clear(RDONLY)),
    ("shared", propagation(SHARED, false)),
    ("silent", Effect::Nothing),
    ("slave", propagation(SLAVE, false)),
    ("strictatime", Effect::Atime(STRICTATIME)),
    ("suid", Effect::Clear(NOSUID)),
    ("symfollow", Effect::Clear(NOSYMFOLLOW)),
    ("sync", Effect::Superblock("sync")),
    ("tmpcopyup", Effect::CopyUp),
    ("unbindable", propagation(UNBINDABLE, false)),
    // Known so that they are refused by name instead of reaching the filesystem as data.
    ("copy-symlink", Effect::Nothing),
    ("dest-nofollow", Effect::Nothing),
    ("idmap", Effect::Nothing),
    ("remount", Effect::Nothing),
    ("ridmap", Effect::Nothing),
];

/// The options of the table that aril cannot do yet.
pub(crate) const NOT_YET: [&str; 6] =
    ["copy-symlink", "dest-nofollow", "idmap", "remount", "ridmap", "src-nofollow"];

/// What `option` does; nothing for an option that is the filesystem's own.
pub(crate) fn effect(option: &str) -> Option<Effect> {
    TABLE.iter().find(|(name, _)| *name == option).map(|(_, effect)| *effect)
}

/// The options that work, for the features document.
pub fn mount_option_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name).filter(|name| !NOT_YET.contains(name))
}

/// Bits that an effect on the field of access times clears.
pub(crate) const ATIME_FIELD: u64 = ATIME;

#[cfg(test)]
mod tests {
    use super::{Effect, TABLE, effect, mount_option_names};

    #[test]
    fn no_option_is_there_twice() {
        let mut names: Vec<_> = TABLE.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }

    #[test]
    fn every_recursive_attribute_has_a_plain_one() {
        let recursive = |effect| {
            matches!(
                effect,
                Effect::SetRecursive(_) | Effect::ClearRecursive(_) | Effect::AtimeRecursive(_)
            )
        };
        for (name, _) in TABLE.iter().filter(|(_, one)| recursive(*one)) {
            let plain = effect(name.strip_prefix('r').unwrap()).unwrap();
            let same = match (effect(name).unwrap(), plain) {
                (Effect::SetRecursive(one), Effect::Set(other))
                | (Effect::ClearRecursive(one), Effect::Clear(other))
                | (Effect::AtimeRecursive(one), Effect::Atime(other)) => one == other,
                _ => false,
            };
            assert!(same, "{name}");
        }
    }

    #[test]
    fn what_does_not_work_is_not_a_feature() {
        assert!(mount_option_names().all(|name| name != "idmap"));
        assert!(mount_option_names().any(|name| name == "rro"));
    }
}
