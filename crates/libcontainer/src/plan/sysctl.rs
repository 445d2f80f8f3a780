//! `linux.sysctl`: only what a namespace of the container's own holds.

use libnamespaces::{Kind, Namespaces};
use oci_spec::runtime::Linux;

use super::Violations;
use super::check::token;

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

pub(crate) fn plan(
    linux: &Linux,
    namespaces: &Namespaces,
    found: &mut Violations,
) -> Vec<(String, String)> {
    let mut given: Vec<_> = linux.sysctl().iter().flatten().collect();
    given.sort();
    given
        .into_iter()
        .map(|(key, value)| {
            let pointer = format!("/linux/sysctl/{}", token(key));
            let path = path_of(key);
            check(&path, (key, value, &pointer), namespaces, found);
            (path, value.clone())
        })
        .collect()
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

fn check(
    path: &str,
    (key, value, pointer): (&str, &str, &str),
    namespaces: &Namespaces,
    found: &mut Violations,
) {
    let clean = path.split('/').all(|part| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(['\0', '\n', '+', '='])
    });
    if !clean || value.contains(['\0', '\n']) {
        let rule = "a sysctl is a path below /proc/sys and a value of one line";
        found.add(pointer, format!("{key}={value}"), rule, "write it as sysctl(8) shows it");
        return;
    }
    let kind = match path.split_once('/') {
        Some(("net", _)) => Kind::Network,
        Some(("user", _)) => Kind::User,
        Some(("fs", rest)) if rest.starts_with("mqueue/") => Kind::Ipc,
        Some(("kernel", "domainname")) => Kind::Uts,
        _ if IPC.contains(&path) => Kind::Ipc,
        _ => {
            let rule = "is not namespaced: it would change the host (config-linux.md, \"Sysctl\")";
            found.add(pointer, key, rule, "set it on the host");
            return;
        }
    };
    if !namespaces.has(kind) {
        let rule = format!("needs a {} namespace, else it would change the host", kind.name());
        let fix = format!("add {{\"type\": \"{}\"}} to linux.namespaces", kind.name());
        found.add(pointer, key, &rule, &fix);
    }
}

#[cfg(test)]
mod tests {
    use super::path_of;

    #[test]
    fn both_separators() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/x"), "net/ipv4/conf/eth0.1/x");
        assert_eq!(path_of("net.ipv4.conf.eth0/1.x"), "net/ipv4/conf/eth0.1/x");
    }
}
