//! `linux.sysctl`: what each kind of namespace holds is set in the container, and the host keeps its own.

use std::fs;

use serde_json::json;

use super::{Test, cases, same};
use crate::config;
use crate::container::Container;

cases!("sysctls": of_every_namespace, of_the_user_namespace, of_the_hosts_user_namespace);

/// The name, a value, and the file below /proc/sys.
const OF_NAMESPACES: [(&str, &str, &str); 6] = [
    ("net.ipv4.ip_default_ttl", "77", "net/ipv4/ip_default_ttl"),
    ("fs.mqueue.queues_max", "33", "fs/mqueue/queues_max"),
    ("kernel.shmmni", "99", "kernel/shmmni"),
    ("kernel.msgmni", "111", "kernel/msgmni"),
    ("kernel.domainname", "example.org", "kernel/domainname"),
    ("kernel/msgmnb", "5555", "kernel/msgmnb"),
];

fn of_every_namespace(container: &mut Container) -> Test {
    let read = |file: &str| fs::read_to_string(format!("/proc/sys/{file}"));
    let before: Vec<_> =
        OF_NAMESPACES.map(|(_, _, file)| read(file)).into_iter().flatten().collect();
    for (name, value, file) in OF_NAMESPACES {
        container.set("/linux/sysctl", json!({ name: value }));
        same!(container.run_script(&format!("cat /proc/sys/{file}"))?.success()?.lines(), [value]);
    }
    let after: Vec<_> =
        OF_NAMESPACES.map(|(_, _, file)| read(file)).into_iter().flatten().collect();
    same!(before, after);
    Ok(())
}

/// How much its users may have (namespaces(7), "/proc/sys/user").
fn of_the_user_namespace(container: &mut Container) -> Test {
    let own = fs::read_to_string("/proc/sys/user/max_inotify_watches")?;
    config::add_user_namespace(&mut container.config);
    container.set("/linux/sysctl", json!({ "user.max_inotify_watches": "123" }));
    let output = container.run_script("cat /proc/sys/user/max_inotify_watches")?.success()?;
    same!(output.lines(), ["123"]);
    same!(fs::read_to_string("/proc/sys/user/max_inotify_watches")?, own);
    Ok(())
}

fn of_the_hosts_user_namespace(container: &mut Container) -> Test {
    container.set("/linux/sysctl", json!({ "user.max_inotify_watches": "123" }));
    container.create_refused(&["user.max_inotify_watches"])
}
