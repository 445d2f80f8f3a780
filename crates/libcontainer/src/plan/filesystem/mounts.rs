//! `mounts`.

use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};

use libnamespaces::{Kind, Namespaces};
use libsyscall::mount::attribute::RDONLY;
use oci_spec::runtime::Mount as SpecMount;

use super::mount_ids::{self, MapIds};
use super::options::{Effect, effect, parameters};
use super::parameter::{Parameter, check_length};
use crate::error::Property;
use crate::plan::linux::mappings;
use crate::plan::{Attributes, ContainerPath, Given, MountIds, Propagation, Violations};

/// One entry of `mounts`.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Its place in `mounts`, for messages; that of `NOTIFY_SOCKET` has none.
    pub index: Option<usize>,
    /// Where it goes.
    pub destination: ContainerPath,
    /// What is mounted.
    pub kind: MountKind,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of the mount and everything below it (the spec's `r` options).
    pub recursive_attributes: Attributes,
    /// Propagation changes in the order of the options.
    pub propagation: Vec<Propagation>,
    /// The mapping of its ids (`idmap`, `ridmap`).
    pub ids: Option<MountIds>,
    /// Whether a symbolic link at the destination is mounted on, and not followed.
    pub onto_link: bool,
    /// What of the directory at the destination it has, too.
    pub from_below: FromBelow,
}

/// What a new tmpfs takes over from the directory that it is mounted on, where that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FromBelow {
    /// Its permissions, unless an option says others: what is private in the image stays so.
    pub permissions: bool,
    /// What is in it (`tmpcopyup`).
    pub content: bool,
    /// With the content, its owner, unless an option says another.
    pub user: bool,
    /// The same of its group.
    pub group: bool,
}

impl FromBelow {
    /// What the filesystem `kind` takes over, which is to copy what is below or not.
    fn of(kind: &MountKind, content: bool) -> Self {
        let MountKind::Filesystem { fstype, parameters, .. } = kind else { return Self::default() };
        let unsaid =
            |key: &CStr| !parameters.iter().any(|parameter| parameter.key.as_c_str() == key);
        let is_tmpfs = fstype == c"tmpfs";
        Self {
            permissions: is_tmpfs && unsaid(c"mode"),
            content,
            user: content && unsaid(c"uid"),
            group: content && unsaid(c"gid"),
        }
    }
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Absolute path in the runtime's mount namespace.
        source: PathBuf,
        /// The same path from the root on, if it leads into the root filesystem: an earlier mount may be
        /// there, so that it is looked for at its turn, and where the container's paths are.
        inside: Option<ContainerPath>,
        /// Whether submounts come along (`rbind`).
        recursive: bool,
        /// What is done with a source that is a symbolic link.
        link: SourceLink,
    },
    /// A change of the mount that is at the destination, and of its filesystem.
    Remount {
        /// Parameters of the filesystem, in the order of the options.
        parameters: Vec<Parameter>,
    },
    /// A new filesystem instance (fsopen(2)).
    Filesystem {
        /// Its type, such as `tmpfs`.
        fstype: CString,
        /// Its `source` parameter, where the config has one.
        source: Option<CString>,
        /// Parameters in the order of the options: a key alone is a flag.
        parameters: Vec<Parameter>,
    },
    /// The container's view of the cgroup hierarchies (types `cgroup` and `cgroup2`), as the host
    /// has them: v1 controllers under a tmpfs, or one cgroup2.
    Cgroup,
}

impl MountKind {
    /// Gives a new filesystem the label `label`, if its options have none of their own.
    fn give_label(&mut self, label: &CStr) {
        let Self::Filesystem { fstype, parameters, .. } = self else { return };
        let has_own = parameters.iter().any(Parameter::is_context);
        if !has_own && !NOT_LABELLED.iter().any(|name| fstype.as_bytes() == name.as_bytes()) {
            parameters.push(Parameter::context(label));
        }
    }
}

/// What becomes of a bind mount whose source is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceLink {
    /// What it leads to is bound.
    Follow,
    /// It is bound itself (`src-nofollow`).
    Bind,
    /// It is made again at the destination (`copy-symlink`).
    Copy,
}

/// Filesystems of the kernel's own that `linux.mountLabel` is not for: proc and sysfs have labels for each file, and a
/// queue's filesystem exists with its IPC namespace, so that its root is labelled instead (as runc does).
const NOT_LABELLED: [&str; 3] = ["proc", "sysfs", "mqueue"];
/// Filesystems of the kernel's own, for which a read-only mount is enough: making the instance
/// read-only matters where there is a disk behind it, or other mounts of it.
const KERNEL_FILESYSTEMS: [&str; 6] = ["tmpfs", "proc", "sysfs", "devpts", "mqueue", "ramfs"];

impl Mount {
    /// What an error says of it.
    pub(crate) fn property(&self) -> Property {
        let destination = &self.destination;
        match self.index {
            Some(index) => {
                let text = format!("mounts[{index}] {destination}");
                Property::new(format!("/mounts/{index}"), text)
            }
            None => Property::new("/mounts", format!("the mount of NOTIFY_SOCKET {destination}")),
        }
    }
}

pub(crate) fn plan(
    given: &Given<'_>,
    namespaces: &Namespaces,
    label: Option<&CStr>,
    root: &Path,
    found: &mut Violations,
) -> Vec<Mount> {
    let mounts = given.spec.mounts().iter().flatten().enumerate();
    mounts
        .map(|(index, mount)| {
            let pointer = format!("/mounts/{index}");
            let planner = Planner { pointer, mount, namespaces, bundle: given.bundle, root };
            let mut mount = planner.plan(index, found);
            label.into_iter().for_each(|label| mount.kind.give_label(label));
            mount
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
    remount: bool,
    link: Option<SourceLink>,
    onto_link: bool,
    ids: Option<MapIds>,
    copy_up: bool,
}

/// One mount.
struct Planner<'a> {
    pointer: String,
    mount: &'a SpecMount,
    namespaces: &'a Namespaces,
    bundle: &'a Path,
    /// Where the root filesystem is on the host.
    root: &'a Path,
}

impl Planner<'_> {
    fn plan(&self, index: usize, found: &mut Violations) -> Mount {
        let destination = self.destination(found);
        let fstype = self.mount.typ().as_deref().unwrap_or("");
        let mut options = self.read_options(fstype == "bind");
        let ids = mount_ids::plan(
            &self.pointer,
            self.mount,
            options.ids.as_ref(),
            self.namespaces,
            found,
        );
        let kind = match (options.bind, fstype) {
            _ if options.remount => self.remount(&mut options, found),
            (Some(recursive), _) => self.bind(&options, recursive, found),
            (None, "cgroup" | "cgroup2") => self.cgroup(&mut options, found),
            (None, fstype) => self.filesystem(fstype, &mut options, found),
        };
        self.check_what_fits(&kind, &options, ids.is_some(), found);
        let Options { attributes, recursive_attributes, propagation, onto_link, copy_up, .. } =
            options;
        Mount {
            index: Some(index),
            destination,
            from_below: FromBelow::of(&kind, copy_up),
            kind,
            attributes,
            recursive_attributes,
            propagation,
            ids,
            onto_link,
        }
    }

    /// Options that make sense for one kind of mount only.
    fn check_what_fits(
        &self,
        kind: &MountKind,
        options: &Options,
        maps_ids: bool,
        found: &mut Violations,
    ) {
        let is_bind = matches!(kind, MountKind::Bind { .. });
        let is_tmpfs = matches!(kind, MountKind::Filesystem { fstype, .. } if fstype == c"tmpfs");
        let is_new = !matches!(kind, MountKind::Cgroup | MountKind::Remount { .. });
        let links = options.link.is_some() || options.onto_link;
        for (wrong, name, rule) in [
            (options.copy_up && !is_tmpfs, "tmpcopyup", "is for tmpfs"),
            (links && !is_bind, "src-nofollow, dest-nofollow, copy-symlink", "is for bind mounts"),
            (maps_ids && !is_new, "idmap", "is for bind mounts and new filesystems"),
        ] {
            if wrong {
                let rule = format!("{rule} (config.md, \"Linux mount options\"; crun(1))");
                found.add(&self.at("options"), name, &rule, "remove it");
            }
        }
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

    fn read_options(&self, bind_type: bool) -> Options {
        let given = self.mount.options().as_deref().unwrap_or_default();
        let mut options = Options { bind: bind_type.then_some(false), ..Options::default() };
        // Podman sends an empty option.
        for (index, option) in given.iter().enumerate().filter(|(_, option)| !option.is_empty()) {
            let pointer = || self.at(&format!("options/{index}"));
            match effect(option) {
                Some(Effect::MapIds { recursive }) => {
                    let (pointer, text) = (pointer(), option.clone());
                    options.ids = Some(MapIds { pointer, text, recursive });
                }
                Some(effect) => options.apply(effect),
                None => options.own.push((pointer(), option.clone())),
            }
        }
        options
    }

    fn bind(&self, options: &Options, recursive: bool, found: &mut Violations) -> MountKind {
        self.refuse_parameters(options, found);
        let pointer = self.at("source");
        let source = self.mount.source().as_deref().unwrap_or(Path::new(""));
        if source.as_os_str().is_empty() {
            let rule = "a bind mount needs a source (config.md, \"Mounts\")";
            found.add(&pointer, "", rule, "give the file or directory to bind");
        }
        let source = found.host_path(&pointer, source, self.bundle);
        MountKind::Bind {
            inside: self.inside_of_root(&source),
            source,
            recursive,
            link: options.link.unwrap_or(SourceLink::Follow),
        }
    }

    /// A path of the host from the root on. Where a `..` leads only the kernel knows.
    fn inside_of_root(&self, path: &Path) -> Option<ContainerPath> {
        ContainerPath::new(path.strip_prefix(self.root).ok()?)
            .filter(|path| !path.has_parent_component())
    }

    /// A bind mount shows a filesystem as it is.
    fn refuse_parameters(&self, options: &Options, found: &mut Violations) {
        for (pointer, option) in &options.own {
            // Podman leaves options of its own volumes in, which crun passes over.
            if ["copy", "nocopy"].contains(&option.as_str()) {
                found.warn(format!("{pointer} {option}: has no effect, it is Podman's own"));
                continue;
            }
            let rule = "bind mounts cannot have any filesystem-specific options applied";
            found.add(pointer, option, rule, "remove it");
        }
        self.warn_of_superblock(options, "a bind mount has the setting of its filesystem", found);
    }

    fn warn_of_superblock(&self, options: &Options, why: &str, found: &mut Violations) {
        for name in &options.superblock {
            let name = name.to_string_lossy();
            found.warn(format!("{}/options {name}: has no effect, {why}", self.pointer));
        }
    }

    /// With `bind` the mount changes alone, else its filesystem too, as with mount(2).
    fn remount(&self, options: &mut Options, found: &mut Violations) -> MountKind {
        if options.bind.is_some() {
            self.refuse_parameters(options, found);
            return MountKind::Remount { parameters: Vec::new() };
        }
        MountKind::Remount { parameters: self.parameters(options, found) }
    }

    /// What the hierarchies are mounted with is theirs, not the config's. All that is mounted is
    /// new, so that every attribute is about all of it.
    fn cgroup(&self, options: &mut Options, found: &mut Violations) -> MountKind {
        let rule = "is no option of a cgroup mount, which shows the hierarchies of the host";
        for (pointer, option) in &options.own {
            found.add(pointer, option, rule, "remove it");
        }
        self.warn_of_superblock(options, "the hierarchies have the settings of the host", found);
        options.attributes.then(std::mem::take(&mut options.recursive_attributes));
        MountKind::Cgroup
    }

    fn filesystem(&self, fstype: &str, options: &mut Options, found: &mut Violations) -> MountKind {
        if fstype.is_empty() {
            let rule = "a mount that is no bind mount needs a type (config.md, \"Mounts\")";
            let fix = "name a filesystem, or add the option bind";
            found.add(&self.at("type"), "", rule, fix);
        }
        let is_readonly = options.attributes.set & RDONLY != 0;
        if fstype == "sysfs" && self.shows_network_of_host() {
            return self.sysfs_of_host(options, found);
        }
        // Nothing is below a new filesystem, so that what is about all of that is about itself.
        options.attributes.then(std::mem::take(&mut options.recursive_attributes));
        if is_readonly && !KERNEL_FILESYSTEMS.contains(&fstype) {
            options.superblock.push(c"ro");
        }
        MountKind::Filesystem {
            fstype: found.c_string(&self.at("type"), fstype),
            source: self.filesystem_source(found),
            parameters: self.parameters(options, found),
        }
    }

    /// Whether a new sysfs, which shows the network devices of its network namespace, is refused by the kernel: root of a
    /// new user namespace has no right to the host's.
    fn shows_network_of_host(&self) -> bool {
        self.namespaces.new.contains(Kind::User) && !self.namespaces.has(Kind::Network)
    }

    /// The host's in place of it, as crun does, with what the options say for all that is below, too.
    fn sysfs_of_host(&self, options: &mut Options, found: &mut Violations) -> MountKind {
        self.refuse_parameters(options, found);
        options.recursive_attributes.then(std::mem::take(&mut options.attributes));
        MountKind::Bind {
            source: PathBuf::from("/sys"),
            inside: None,
            recursive: true,
            link: SourceLink::Follow,
        }
    }

    /// What the filesystem itself is told.
    fn parameters(&self, options: &mut Options, found: &mut Violations) -> Vec<Parameter> {
        let mut all: Vec<_> = options.superblock.drain(..).map(Parameter::flag).collect();
        for (pointer, option) in &options.own {
            all.extend(parameters(option).into_iter().map(|(key, value)| {
                self.check_parameter(pointer, &key, value.as_deref(), found);
                let value = value.map(|value| found.c_string(pointer, &value));
                Parameter { key: found.c_string(pointer, &key), value }
            }));
        }
        all
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
        key: &str,
        value: Option<&str>,
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
            Effect::Remount => self.remount = true,
            Effect::SourceNoFollow => self.link = self.link.or(Some(SourceLink::Bind)),
            Effect::CopySymlink => self.link = Some(SourceLink::Copy),
            Effect::DestinationNoFollow => self.onto_link = true,
            // Read with its value.
            Effect::MapIds { .. } | Effect::Nothing => {}
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
