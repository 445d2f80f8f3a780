//! `mounts`.

use std::ffi::{CStr, CString};
use std::path::Path;

use libnamespaces::Namespaces;
use libsyscall::mount::attribute::RDONLY;
use oci_spec::runtime::Mount as SpecMount;

use super::create::Given;
use super::options::{Effect, effect, parameters};
use super::{Attributes, ContainerPath, Mount, MountKind, Propagation, Violations, mappings};

/// The longest value that fsconfig(2) takes, in bytes.
const LONGEST_VALUE: usize = 255;
/// Filesystems of the kernel's own, for which a read-only mount is enough: making the instance
/// read-only matters where there is a disk behind it, or other mounts of it.
const KERNEL_FILESYSTEMS: [&str; 6] = ["tmpfs", "proc", "sysfs", "devpts", "mqueue", "ramfs"];

pub(crate) fn plan(
    given: &Given<'_>,
    namespaces: &Namespaces,
    found: &mut Violations,
) -> Vec<Mount> {
    let mounts = given.spec.mounts().iter().flatten().enumerate();
    mounts
        .map(|(index, mount)| {
            let planner = Planner { pointer: format!("/mounts/{index}"), mount, namespaces };
            planner.plan(index, given.bundle, found)
        })
        .collect()
}

/// What the options of one mount come to.
#[derive(Default)]
struct Options {
    attributes: Attributes,
    recursive_attributes: Attributes,
    propagation: Vec<Propagation>,
    superblock: Vec<&'static CStr>,
    /// Options of the filesystem's own, each with its JSON pointer.
    own: Vec<(String, String)>,
    bind: Option<bool>,
    copy_up: bool,
}

/// One mount.
struct Planner<'a> {
    pointer: String,
    mount: &'a SpecMount,
    namespaces: &'a Namespaces,
}

impl Planner<'_> {
    fn plan(&self, index: usize, bundle: &Path, found: &mut Violations) -> Mount {
        let destination = self.destination(found);
        self.refuse_mappings(found);
        let fstype = self.mount.typ().as_deref().unwrap_or("");
        let mut options = self.read_options(fstype == "bind", found);
        let kind = match (options.bind, fstype) {
            (Some(recursive), _) => self.bind(&options, (bundle, recursive), found),
            (None, "cgroup" | "cgroup2") => self.cgroup(&options, found),
            (None, fstype) => self.filesystem(fstype, &mut options, found),
        };
        if options.copy_up && (fstype != "tmpfs" || options.bind.is_some()) {
            let rule = "is for tmpfs (config.md, \"Linux mount options\")";
            found.add(&self.at("options"), "tmpcopyup", rule, "remove it");
        }
        let Options { attributes, recursive_attributes, propagation, copy_up, .. } = options;
        Mount { index, destination, kind, attributes, recursive_attributes, propagation, copy_up }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.pointer)
    }

    /// A relative destination is taken below `/` (config.md, "Mounts").
    fn destination(&self, found: &mut Violations) -> ContainerPath {
        let (pointer, given) = (self.at("destination"), self.mount.destination());
        let destination = found.container_path(&pointer, given);
        if destination.normalized() == Path::new("/") {
            let rule = "nothing can be mounted on the root filesystem itself";
            found.add(&pointer, given.display(), rule, "use root.path");
        } else if !given.is_absolute() {
            found.warn(format!("{pointer} {given:?}: a relative destination is deprecated"));
        }
        destination
    }

    fn refuse_mappings(&self, found: &mut Violations) {
        let given = [
            ("uidMappings", self.mount.uid_mappings()),
            ("gidMappings", self.mount.gid_mappings()),
        ];
        for (name, mappings) in given {
            if let Some(count) = mappings.as_ref().map(Vec::len).filter(|count| *count > 0) {
                found.not_yet(&self.at(name), format!("{count} entries"));
            }
        }
    }

    fn read_options(&self, bind_type: bool, found: &mut Violations) -> Options {
        let given = self.mount.options().as_deref().unwrap_or_default();
        let mut options = Options { bind: bind_type.then_some(false), ..Options::default() };
        // Podman sends an empty option.
        for (index, option) in given.iter().enumerate().filter(|(_, option)| !option.is_empty()) {
            let pointer = || self.at(&format!("options/{index}"));
            match effect(option) {
                Some(Effect::NotYet) => found.not_yet(&pointer(), option),
                Some(effect) => options.apply(effect),
                None => options.own.push((pointer(), option.clone())),
            }
        }
        options
    }

    fn bind(
        &self,
        options: &Options,
        (bundle, recursive): (&Path, bool),
        found: &mut Violations,
    ) -> MountKind {
        for (pointer, option) in &options.own {
            let rule = "bind mounts cannot have any filesystem-specific options applied";
            found.add(pointer, option, rule, "remove it");
        }
        for name in &options.superblock {
            let name = name.to_string_lossy();
            let why = "a bind mount has the setting of its filesystem";
            found.warn(format!("{}/options {name}: has no effect, {why}", self.pointer));
        }
        let pointer = self.at("source");
        let source = self.mount.source().as_deref().unwrap_or(Path::new(""));
        if source.as_os_str().is_empty() {
            let rule = "a bind mount needs a source (config.md, \"Mounts\")";
            found.add(&pointer, "", rule, "give the file or directory to bind");
        }
        MountKind::Bind { source: found.host_path(&pointer, source, bundle), recursive }
    }

    /// What the hierarchies are mounted with is theirs, not the config's.
    fn cgroup(&self, options: &Options, found: &mut Violations) -> MountKind {
        for (pointer, option) in &options.own {
            let rule =
                "is no option of a cgroup mount, which shows the hierarchies as the host has them";
            found.add(pointer, option, rule, "remove it");
        }
        for name in &options.superblock {
            let pointer = self.at("options");
            let rule = "is no option of a cgroup mount";
            found.add(&pointer, name.to_string_lossy(), rule, "remove it");
        }
        MountKind::Cgroup
    }

    fn filesystem(&self, fstype: &str, options: &mut Options, found: &mut Violations) -> MountKind {
        if fstype.is_empty() {
            let rule = "a mount that is no bind mount needs a type (config.md, \"Mounts\")";
            let fix = "name a filesystem, or add the option bind";
            found.add(&self.at("type"), "", rule, fix);
        }
        let is_readonly = options.attributes.set & RDONLY != 0;
        if is_readonly && !KERNEL_FILESYSTEMS.contains(&fstype) {
            options.superblock.push(c"ro");
        }
        let flags = options.superblock.drain(..).map(|name| (name.to_owned(), None));
        let mut all: Vec<_> = flags.collect();
        for (pointer, option) in &options.own {
            all.extend(parameters(option).into_iter().map(|(key, value)| {
                self.check_parameter(pointer, (&key, value.as_deref()), found);
                let value = value.map(|value| found.c_string(pointer, &value));
                (found.c_string(pointer, &key), value)
            }));
        }
        MountKind::Filesystem {
            fstype: found.c_string(&self.at("type"), fstype),
            source: self.filesystem_source(found),
            parameters: all,
        }
    }

    /// A device, or a word that only shows in the mount table.
    fn filesystem_source(&self, found: &mut Violations) -> Option<CString> {
        let source = self.mount.source().as_deref()?.to_string_lossy();
        let pointer = self.at("source");
        check_length(&pointer, &source, found);
        (!source.is_empty()).then(|| found.c_string(&pointer, &source))
    }

    fn check_parameter(
        &self,
        pointer: &str,
        (key, value): (&str, Option<&str>),
        found: &mut Violations,
    ) {
        if key.is_empty() {
            found.add(pointer, format!("={}", value.unwrap_or("")), "names no option", "remove it");
        }
        check_length(pointer, key, found);
        check_length(pointer, value.unwrap_or(""), found);
        let mappings = match key {
            "uid" => &self.namespaces.uid_mappings,
            "gid" => &self.namespaces.gid_mappings,
            _ => return,
        };
        let id = value.and_then(|value| value.parse().ok());
        if let Some(id) = id.filter(|id| !mappings::maps(mappings, *id)) {
            let rule = "is not an id of the container's user namespace";
            found.add(pointer, format!("{key}={id}"), rule, "map it, or leave it out");
        }
    }
}

fn check_length(pointer: &str, text: &str, found: &mut Violations) {
    if text.len() > LONGEST_VALUE {
        let rule = "fsconfig(2) takes at most 255 bytes";
        found.add(pointer, text, rule, "use shorter paths, such as symbolic links to them");
    }
}

impl Options {
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Attribute(change) => self.attributes.then(change),
            Effect::RecursiveAttribute(change) => self.recursive_attributes.then(change),
            Effect::Superblock(name) => self.superblock.push(name),
            // One `rbind` makes it recursive, also beside `bind`.
            Effect::Bind { recursive } => self.bind = Some(recursive || self.bind == Some(true)),
            Effect::Propagation(propagation) => self.propagation.push(propagation),
            Effect::CopyUp(yes) => self.copy_up = yes,
            Effect::Nothing | Effect::NotYet => {}
        }
    }
}

impl Attributes {
    /// Both changes in one: of two about the same bit the later counts.
    const fn then(&mut self, later: Self) {
        self.set = self.set & !later.clear | later.set;
        self.clear = self.clear & !later.set | later.clear;
    }
}

#[cfg(test)]
mod tests {
    use libsyscall::mount::attribute::{ATIME, NOATIME, NODEV, RDONLY, STRICTATIME};

    use super::{Attributes, Options, effect};

    #[track_caller]
    fn check(words: &str, set: u64, clear: u64) {
        let mut options = Options::default();
        words.split(' ').for_each(|word| options.apply(effect(word).unwrap()));
        assert_eq!(options.attributes, Attributes { set, clear }, "{words}");
    }

    #[test]
    fn the_later_option_counts() {
        check("ro rw", 0, RDONLY);
        check("rw ro", RDONLY, 0);
        check("nodev ro dev", RDONLY, NODEV);
    }

    #[test]
    fn the_field_of_access_times_is_cleared_whole() {
        check("noatime nodev", NOATIME | NODEV, ATIME);
        check("noatime strictatime", STRICTATIME, ATIME);
        check("strictatime atime", 0, ATIME);
    }

    #[test]
    fn one_rbind_is_enough() {
        for words in ["bind rbind", "rbind bind", "rbind"] {
            let mut options = Options::default();
            words.split(' ').for_each(|word| options.apply(effect(word).unwrap()));
            assert_eq!(options.bind, Some(true), "{words}");
        }
    }
}
