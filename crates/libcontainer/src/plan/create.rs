//! `plan::create`: the spec, the host and the request become a plan, or every reason why not.

use std::path::{Path, PathBuf};

use libnamespaces::Kind;
use oci_spec::runtime::{Linux, LinuxPersonalityDomain, Spec};
use rustix::mount::MountPropagationFlags;

use super::check::token;
use super::{Plan, Propagation, Rootfs, Violations};
use super::{devices, hooks, mounts, namespaces, process, sysctl};
use crate::host::Host;
use crate::{Violation, request};

/// A plan, and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// Plans the container that `spec`, of the bundle at the absolute path `bundle`, describes.
///
/// # Errors
/// Every violation.
pub fn create(
    spec: &Spec,
    host: &Host,
    request: &request::Create,
    bundle: &Path,
) -> Result<Planned, Vec<Violation>> {
    let found = &mut Violations::default();
    check_version(spec.version(), found);
    let linux = spec.linux().clone().unwrap_or_default_empty();
    let namespaces = namespaces::plan(&linux, found);
    refuse_unsupported(&linux, found);
    let own_devices = namespaces.new.contains(Kind::User)
        || namespaces.joins(Kind::User)
        || host.in_user_namespace;
    let mounts = mounts::plan(spec, bundle, found);
    let process =
        spec.process().as_ref().map(|process| process::plan(process, host, "/process", found));
    if let Some(seccomp) = linux.seccomp() {
        found.not_yet("/linux/seccomp", seccomp.default_action());
    }
    check_terminal(process.as_ref(), request, found);
    let (cgroup, limits) = plan_cgroup(&linux, host, &request.id, found);
    let hostname = spec.hostname().as_deref().filter(|name| !name.is_empty());
    let domainname = spec.domainname().as_deref().filter(|name| !name.is_empty());
    let plan = Plan {
        id: request.id.clone(),
        bundle: bundle.to_owned(),
        oci_version: spec.version().clone(),
        annotations: annotations(spec, found),
        spawn: libnamespaces::decide(&namespaces),
        rootfs: rootfs(spec, &linux, (bundle, request), found),
        devices: devices::plan(&linux, &mounts, found),
        bind_devices: own_devices,
        links: devices::links(&mounts),
        hostname: named("/hostname", hostname, &namespaces, found),
        domainname: named("/domainname", domainname, &namespaces, found),
        sysctl: sysctl::plan(&linux, &namespaces, found),
        masked_paths: paths("/linux/maskedPaths", linux.masked_paths().as_deref(), found),
        readonly_paths: paths("/linux/readonlyPaths", linux.readonly_paths().as_deref(), found),
        personality: personality(&linux, found),
        new_keyring: !request.no_new_keyring,
        hooks: hooks::plan(spec, found),
        preserve_fds: request.preserve_fds,
        namespaces,
        cgroup,
        limits,
        mounts,
        process,
    };
    check_mount_namespace(&plan, found);
    if found.all.is_empty() {
        Ok(Planned { plan, warnings: std::mem::take(&mut found.warnings) })
    } else {
        Err(std::mem::take(&mut found.all))
    }
}

/// An absent `linux` asks for nothing: the crate's default would ask for namespaces and masks.
trait OrEmpty {
    fn unwrap_or_default_empty(self) -> Linux;
}

impl OrEmpty for Option<Linux> {
    fn unwrap_or_default_empty(self) -> Linux {
        self.unwrap_or_else(|| {
            let mut linux = Linux::default();
            linux.set_namespaces(None).set_masked_paths(None).set_readonly_paths(None);
            linux.set_resources(None);
            linux
        })
    }
}

/// SemVer, of a major version that aril knows; any minor version of it (runtime-spec, config.md,
/// "Specification version").
fn check_version(version: &str, found: &mut Violations) {
    let (core, tail) = match version.find(['-', '+']) {
        Some(at) => version.split_at(at),
        None => (version, ""),
    };
    let numbers: Vec<&str> = core.split('.').collect();
    let is_number = |text: &&str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text.len() == 1 || !text.starts_with('0'))
    };
    let tail_fine = tail.is_empty()
        || (tail.len() > 1
            && tail[1..]
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte)));
    if numbers.len() != 3 || !numbers.iter().all(is_number) || !tail_fine {
        let rule = "must be in SemVer v2.0.0 format (config.md, \"Specification version\")";
        found.add("/ociVersion", version, rule, "write for example \"1.3.0\"");
    } else if numbers.first() != Some(&"1") {
        let rule = "is of a major version that is incompatible with 1.3.0, which aril implements";
        found.add("/ociVersion", version, rule, "write a config for runtime-spec 1.x");
    }
}

fn refuse_unsupported(linux: &Linux, found: &mut Violations) {
    if linux.intel_rdt().is_some() {
        found.not_yet("/linux/intelRdt", "");
    }
    if linux.memory_policy().is_some() {
        found.not_yet("/linux/memoryPolicy", "");
    }
    if linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        found.not_yet("/linux/netDevices", "");
    }
    if let Some(label) = linux.mount_label().as_deref().filter(|label| !label.is_empty()) {
        found.not_yet("/linux/mountLabel", label);
    }
}

fn check_terminal(
    process: Option<&super::Process>,
    request: &request::Create,
    found: &mut Violations,
) {
    let terminal = process.is_some_and(|process| process.terminal.is_some());
    if request.console_socket.is_some() && !terminal {
        let rule = "a console socket was given, but there is no terminal to send to it";
        found.add("/process/terminal", "false", rule, "set it, or leave --console-socket out");
    }
}

fn plan_cgroup(
    linux: &Linux,
    host: &Host,
    id: &str,
    found: &mut Violations,
) -> (libcgroups::Location, libcgroups::Limits) {
    let path = linux.cgroups_path().as_deref();
    let location = libcgroups::Location::resolve(&host.cgroups, path, id).unwrap_or_else(|error| {
        let shown = path.unwrap_or(Path::new(id)).display();
        found.add("/linux/cgroupsPath", shown, &error.to_string(), "give another path");
        libcgroups::Location::default()
    });
    let resources = linux.resources().clone().unwrap_or_default();
    let limits = libcgroups::plan(&resources, &host.cgroups).unwrap_or_else(|violations| {
        for one in violations {
            found.add(&one.pointer, &one.value, &one.rule, &one.fix);
        }
        libcgroups::Limits::default()
    });
    (location, limits)
}

fn annotations(spec: &Spec, found: &mut Violations) -> Vec<(String, String)> {
    let given = spec.annotations().clone().unwrap_or_default();
    if given.contains_key("") {
        found.add(
            "/annotations/",
            "",
            "a key must not be empty (config.md, \"Annotations\")",
            "name it",
        );
    }
    let mut sorted: Vec<_> = given.into_iter().collect();
    sorted.sort();
    sorted
}

fn rootfs(
    spec: &Spec,
    linux: &Linux,
    (bundle, request): (&Path, &request::Create),
    found: &mut Violations,
) -> Rootfs {
    let root = spec.root().as_ref();
    let path = root.map(|root| root.path().as_path()).filter(|path| !path.as_os_str().is_empty());
    if path.is_none() {
        let rule = "is required on Linux (config.md, \"Root\")";
        found.add("/root/path", "", rule, "give the directory of the root filesystem");
    }
    let path: PathBuf = bundle.join(path.unwrap_or(Path::new("rootfs"))).components().collect();
    if std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).contains(&0) {
        found.add("/root/path", path.display(), "a path cannot hold a NUL byte", "remove it");
    }
    if path == Path::new("/") {
        found.add(
            "/root/path",
            "/",
            "the host's own root cannot be a container's",
            "give another directory",
        );
    }
    Rootfs {
        path,
        readonly: root.and_then(oci_spec::runtime::Root::readonly).unwrap_or(false),
        propagation: propagation(linux, found),
        no_pivot: request.no_pivot,
    }
}

fn propagation(linux: &Linux, found: &mut Violations) -> Option<Propagation> {
    let word = linux.rootfs_propagation().as_deref().filter(|word| !word.is_empty())?;
    let flag = match word.strip_prefix('r').unwrap_or(word) {
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "private" => MountPropagationFlags::PRIVATE,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => {
            let rule = "is no propagation type (config-linux.md, \"Rootfs Mount Propagation\")";
            let fix = "write shared, slave, private or unbindable";
            found.add("/linux/rootfsPropagation", word, rule, fix);
            return None;
        }
    };
    Some(Propagation { flag: flag.bits().into(), recursive: true })
}

/// A host or domain name needs a namespace that the host does not share.
fn named(
    pointer: &str,
    name: Option<&str>,
    namespaces: &libnamespaces::Namespaces,
    found: &mut Violations,
) -> Option<std::ffi::CString> {
    let name = name?;
    if !namespaces.has(Kind::Uts) {
        let rule = "needs a uts namespace, else the host itself would be renamed";
        found.add(pointer, name, rule, "add {\"type\": \"uts\"} to linux.namespaces");
    }
    if name.len() > 64 {
        found.add(pointer, name, "a name has at most 64 bytes (sethostname(2))", "shorten it");
    }
    Some(found.c_string(pointer, name))
}

fn paths(
    pointer: &str,
    paths: Option<&[String]>,
    found: &mut Violations,
) -> Vec<super::ContainerPath> {
    let section = "config-linux.md, \"Masked Paths\" and \"Readonly Paths\"";
    paths
        .unwrap_or_default()
        .iter()
        .enumerate()
        .map(|(index, path)| {
            found.absolute(&format!("{pointer}/{index}"), Path::new(path), section)
        })
        .collect()
}

fn personality(linux: &Linux, found: &mut Violations) -> Option<u32> {
    let personality = linux.personality().as_ref()?;
    for (index, flag) in personality.flags().iter().flatten().enumerate() {
        let pointer = format!("/linux/personality/flags/{index}");
        let rule = "the spec defines no flags (config-linux.md, \"Personality\")";
        found.add(&pointer, flag, rule, "remove it");
    }
    // PER_LINUX and PER_LINUX32 (personality(2)).
    Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

/// Without a mount namespace every change of a mount would be the host's.
fn check_mount_namespace(plan: &Plan, found: &mut Violations) {
    if plan.namespaces.has(Kind::Mount) {
        return;
    }
    let wants = [
        ("/mounts", plan.mounts.is_empty()),
        ("/linux/maskedPaths", plan.masked_paths.is_empty()),
        ("/linux/readonlyPaths", plan.readonly_paths.is_empty()),
        ("/root/readonly", !plan.rootfs.readonly),
    ];
    for (pointer, unset) in wants {
        if !unset {
            let rule = "needs a mount namespace, else the host's own mounts would change";
            let fix = "add {\"type\": \"mount\"} to linux.namespaces";
            found.add(pointer, token(""), rule, fix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Violations, check_version};

    #[test]
    fn versions() {
        let wrong = |version| {
            let mut found = Violations::default();
            check_version(version, &mut found);
            !found.all.is_empty()
        };
        for version in ["1.0.0", "1.0.2-dev", "1.3.0", "1.99.0", "1.1.0+dev"] {
            assert!(!wrong(version), "{version}");
        }
        for version in ["", "1", "1.0", "2.0.0", "0.9.0", "banana", "1.0.0-", "01.0.0", "1.0.x"] {
            assert!(wrong(version), "{version}");
        }
    }
}
