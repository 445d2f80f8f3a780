//! `mounts`.

use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{Mount as SpecMount, Spec};

use super::options::{ATIME_FIELD, Effect, NOT_YET, effect};
use super::{Attributes, Mount, MountKind, Propagation, Violations};

pub(crate) fn plan(spec: &Spec, bundle: &Path, found: &mut Violations) -> Vec<Mount> {
    spec.mounts()
        .iter()
        .flatten()
        .enumerate()
        .map(|(index, mount)| plan_one(index, mount, bundle, found))
        .collect()
}

/// What the options of one mount come to.
#[derive(Default)]
struct Options {
    attributes: Attributes,
    recursive_attributes: Attributes,
    propagation: Vec<Propagation>,
    parameters: Vec<(CString, Option<CString>)>,
    superblock: Vec<&'static str>,
    bind: Option<bool>,
    copy_up: bool,
}

fn plan_one(index: usize, mount: &SpecMount, bundle: &Path, found: &mut Violations) -> Mount {
    let pointer = format!("/mounts/{index}");
    let destination = found.container_path(&format!("{pointer}/destination"), mount.destination());
    if destination.normalized() == Path::new("/") {
        let rule = "nothing can be mounted on the root filesystem itself";
        found.add(&format!("{pointer}/destination"), &destination, rule, "use root.path");
    }
    if !mount.destination().is_absolute() {
        found.warn(format!(
            "{pointer}/destination {destination}: a relative destination is deprecated"
        ));
    }
    let mapped = [("uidMappings", mount.uid_mappings()), ("gidMappings", mount.gid_mappings())];
    for (name, mappings) in mapped {
        if mappings.as_ref().is_some_and(|mappings| !mappings.is_empty()) {
            found.not_yet(&format!("{pointer}/{name}"), "");
        }
    }
    let fstype = mount.typ().as_deref().unwrap_or("");
    let mut options = read_options(&pointer, mount, fstype == "bind", found);
    let kind = match (options.bind, fstype) {
        (Some(recursive), _) => bind(&pointer, (mount, recursive), bundle, (&options, found)),
        (None, "cgroup" | "cgroup2") => MountKind::Cgroup,
        (None, _) => filesystem(&pointer, mount, &mut options, found),
    };
    if options.copy_up && fstype != "tmpfs" {
        let rule = "tmpcopyup is for tmpfs";
        found.add(&format!("{pointer}/options"), "tmpcopyup", rule, "remove it");
    }
    let Options { attributes, recursive_attributes, propagation, copy_up, .. } = options;
    Mount { index, destination, kind, attributes, recursive_attributes, propagation, copy_up }
}

fn read_options(
    pointer: &str,
    mount: &SpecMount,
    bind_type: bool,
    found: &mut Violations,
) -> Options {
    let given = mount.options().as_deref().unwrap_or_default();
    let mut options = Options { bind: bind_type.then_some(false), ..Options::default() };
    for (index, option) in given.iter().enumerate() {
        let place = format!("{pointer}/options/{index}");
        let name = option.split('=').next().unwrap_or(option);
        if NOT_YET.contains(&name) {
            found.not_yet(&place, option);
        } else if let Some(effect) = effect(option) {
            options.apply(effect);
        } else if !option.is_empty() {
            options.parameters.push(parameter(&place, option, found));
        }
    }
    options
}

/// An option of the filesystem's own: a key, or a key and a value.
fn parameter(pointer: &str, option: &str, found: &mut Violations) -> (CString, Option<CString>) {
    match option.split_once('=') {
        Some((key, value)) => (found.c_string(pointer, key), Some(found.c_string(pointer, value))),
        None => (found.c_string(pointer, option), None),
    }
}

impl Options {
    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Set(bits) => set(&mut self.attributes, bits, 0),
            Effect::Clear(bits) => set(&mut self.attributes, 0, bits),
            Effect::Atime(value) => set(&mut self.attributes, value, ATIME_FIELD),
            Effect::SetRecursive(bits) => set(&mut self.recursive_attributes, bits, 0),
            Effect::ClearRecursive(bits) => set(&mut self.recursive_attributes, 0, bits),
            Effect::AtimeRecursive(value) => {
                set(&mut self.recursive_attributes, value, ATIME_FIELD)
            }
            Effect::Superblock(name) => self.superblock.push(name),
            Effect::Bind { recursive } => self.bind = Some(recursive),
            Effect::Propagation { flag, recursive } => {
                self.propagation.push(Propagation { flag, recursive });
            }
            Effect::CopyUp => self.copy_up = true,
            Effect::Nothing => {}
        }
    }
}

/// The later option wins.
const fn set(attributes: &mut Attributes, set: u64, clear: u64) {
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !set | clear;
}

fn bind(
    pointer: &str,
    (mount, recursive): (&SpecMount, bool),
    bundle: &Path,
    (options, found): (&Options, &mut Violations),
) -> MountKind {
    for (key, _) in &options.parameters {
        let rule = "bind mounts cannot have any filesystem-specific options applied";
        found.add(&format!("{pointer}/options"), key.to_string_lossy(), rule, "remove it");
    }
    for name in &options.superblock {
        found.warn(format!(
            "{pointer}/options {name}: a bind mount has the setting of its filesystem"
        ));
    }
    let source = mount.source().as_deref().filter(|source| !source.as_os_str().is_empty());
    if source.is_none() {
        let rule = "a bind mount needs a source (config.md, \"Mounts\")";
        found.add(&format!("{pointer}/source"), "", rule, "give the file or directory to bind");
    }
    let source = source.unwrap_or(Path::new("/"));
    found.container_path(&format!("{pointer}/source"), source);
    MountKind::Bind { source: bundle.join(source), recursive }
}

fn filesystem(
    pointer: &str,
    mount: &SpecMount,
    options: &mut Options,
    found: &mut Violations,
) -> MountKind {
    let fstype = mount.typ().as_deref().unwrap_or("");
    if fstype.is_empty() {
        let rule = "a mount that is no bind mount needs a type (config.md, \"Mounts\")";
        found.add(
            &format!("{pointer}/type"),
            "",
            rule,
            "name a filesystem, or add the option bind",
        );
    }
    let source = mount.source().as_ref().map(|source| source.to_string_lossy());
    let flags =
        options.superblock.drain(..).map(|name| (CString::new(name).unwrap_or_default(), None));
    let mut parameters: Vec<_> = flags.collect();
    parameters.append(&mut options.parameters);
    MountKind::Filesystem {
        fstype: found.c_string(&format!("{pointer}/type"), fstype),
        source: source
            .filter(|source| !source.is_empty())
            .map(|source| found.c_string(&format!("{pointer}/source"), &source)),
        parameters,
    }
}
