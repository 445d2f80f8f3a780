//! `linux.sysctl`: only what a namespace of the container's own holds.

use std::collections::BTreeMap;

use libnamespaces::{Kind, Namespaces};
use oci_spec::runtime::Linux;

use crate::plan::{Given, Violations};
use crate::spec::token;

/// Sysctls of the ipc namespace (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The NIS domain name, of which the uts namespace holds one.
const DOMAINNAME: &str = "kernel/domainname";

/// One write below /proc/sys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// The file, from /proc/sys on.
    pub path: String,
    /// What is written to it.
    pub value: String,
}

/// The writes, sorted by path: the config has no order.
pub(crate) fn plan(
    given: &Given<'_>,
    namespaces: &Namespaces,
    found: &mut Violations,
) -> Vec<Sysctl> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut sorted: Vec<_> = given.linux.sysctl().iter().flatten().collect();
    sorted.sort();
    for (key, value) in sorted {
        let pointer = format!("/linux/sysctl/{}", token(key));
        let path = path_of(key);
        if !is_clean(&path) || value.contains(['\0', '\n']) {
            let rule = "a sysctl is a path below /proc/sys and a value of one line";
            let fix = "write it as sysctl(8) shows it";
            found.add(&pointer, format!("{key}={value}"), rule, fix);
        } else {
            check_namespace(&path, key, &pointer, namespaces, found);
        }
        if path == DOMAINNAME && given.spec.domainname().is_some() {
            let rule = "conflicts with the property domainname";
            found.add(&pointer, key, rule, "set one of them");
        }
        if all.insert(path, value.clone()).is_some() {
            let rule = "is there twice, written with . and with /";
            found.add(&pointer, key, rule, "remove one of the entries");
        }
    }
    all.into_iter().map(|(path, value)| Sysctl { path, value }).collect()
}

/// Which kinds of namespace `linux.sysctl` changes, each with the JSON pointer to what does, sorted.
pub(super) fn changes(linux: &Linux) -> Vec<(Kind, String)> {
    let keys = linux.sysctl().iter().flatten().map(|(key, _)| key);
    let change =
        |key: &String| Some((kind_of(&path_of(key))?, format!("/linux/sysctl/{}", token(key))));
    let mut changes: Vec<_> = keys.filter_map(change).collect();
    changes.sort();
    changes
}

/// The path below /proc/sys. As in sysctl(8), the first separator tells which of `.` and `/` is
/// one, and the other stands for itself with the roles changed (`net.ipv4.conf.eth0/1.x`).
fn path_of(key: &str) -> String {
    if key.find(['.', '/']).and_then(|at| key.as_bytes().get(at)) == Some(&b'/') {
        return key.to_owned();
    }
    key.chars()
        .map(|letter| match letter {
            '.' => '/',
            '/' => '.',
            letter => letter,
        })
        .collect()
}

fn check_namespace(
    path: &str,
    key: &str,
    pointer: &str,
    namespaces: &Namespaces,
    found: &mut Violations,
) {
    let Some(kind) = kind_of(path) else {
        let rule = "is not namespaced: it would change the host (config-linux.md, \"Sysctl\")";
        found.add(pointer, key, rule, "set it on the host, or use the property of that name");
        return;
    };
    if !namespaces.has(kind) {
        let rule = format!("needs a {} namespace, else it would change the host", kind.name());
        let fix = format!("add {{\"type\": \"{}\"}} to linux.namespaces", kind.name());
        found.add(pointer, key, &rule, &fix);
    }
}

/// Whether `path` leads to a file below, and holds nothing that another parser might split at
/// (CVE-2022-0811).
fn is_clean(path: &str) -> bool {
    path.split('/')
        .all(|part| !matches!(part, "" | "." | "..") && !part.contains(['\0', '\n', '+', '=']))
}

/// The kind of namespace that holds the sysctl; none for those of the whole machine, and for the
/// hostname, which is a property of its own.
fn kind_of(path: &str) -> Option<Kind> {
    match path.split_once('/') {
        Some(("net", _)) => Some(Kind::Network),
        Some(("user", _)) => Some(Kind::User),
        Some(("fs", rest)) if rest.starts_with("mqueue/") => Some(Kind::Ipc),
        _ if path == DOMAINNAME => Some(Kind::Uts),
        _ if IPC.contains(&path) => Some(Kind::Ipc),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use libnamespaces::Kind;

    use super::{is_clean, kind_of, path_of};

    #[test]
    fn both_separators() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/x"), "net/ipv4/conf/eth0.1/x");
        assert_eq!(path_of("net.ipv4.conf.eth0/1.x"), "net/ipv4/conf/eth0.1/x");
    }

    #[test]
    fn no_path_leads_out() {
        for path in ["", "/net/x", "net//x", "net/../kernel/core_pattern", "net/./x", "net/x/"] {
            assert!(!is_clean(path), "{path}");
        }
        for path in ["net/x+kernel", "net/x=1", "net/a\nb", "net/a\0"] {
            assert!(!is_clean(path), "{path:?}");
        }
        assert!(is_clean("net/ipv4/conf/eth0.1/x"));
    }

    #[test]
    fn what_is_not_namespaced_has_no_kind() {
        for path in
            ["kernel/core_pattern", "kernel/hostname", "fs/file-max", "net", "vm/swappiness"]
        {
            assert_eq!(kind_of(path), None, "{path}");
        }
        assert_eq!(kind_of("fs/mqueue/msg_max"), Some(Kind::Ipc));
        assert_eq!(kind_of("kernel/shmmax"), Some(Kind::Ipc));
        assert_eq!(kind_of("kernel/domainname"), Some(Kind::Uts));
        assert_eq!(kind_of("user/max_user_namespaces"), Some(Kind::User));
    }
}
