//! `linux.netDevices`.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Test, cases, same};
use crate::command::Output;
use crate::container::Container;

cases!("network_devices":
    moves, is_renamed, gets_a_number, several, joined_namespace, is_known_to_hooks, missing, taken_name,
    without_a_network_namespace, a_failed_create_gives_it_back, a_refused_one_keeps_the_others,
);

/// A network device of the host with addresses, gone with this value.
struct Device {
    ip: Vec<std::ffi::OsString>,
    name: String,
}

impl Device {
    fn new(container: &Container) -> anyhow::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}d{number}", container.runtime.token);
        let busybox = container.rootfs().join("bin/busybox");
        let device = Self { ip: vec![busybox.into(), "ip".into()], name };
        device.ip(&["link", "add", &device.name, "type", "veth"])?;
        device.ip(&["addr", "add", "10.77.0.2/24", "brd", "10.77.0.255", "dev", &device.name])?;
        device.ip(&["addr", "add", "fd00:77::2/64", "dev", &device.name])?;
        device.ip(&["addr", "add", "10.78.0.2/24", "scope", "link", "dev", &device.name])?;
        device.ip(&["link", "set", &device.name, "up", "mtu", "1400"])?;
        Ok(device)
    }

    fn ip(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.ip[0]).args(&self.ip[1..]).args(args).output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "ip {args:?}: {error}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Its addresses on the host, and whether it is up; an error if it is not there.
    fn on_host(&self) -> anyhow::Result<Vec<String>> {
        Ok(facts(&self.ip(&["addr", "show", "dev", &self.name])?))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.ip(&["link", "delete", &self.name]);
    }
}

/// What `ip addr` says that must not change.
fn facts(text: &str) -> Vec<String> {
    let words: Vec<_> = text.split_whitespace().collect();
    let mut facts: Vec<String> = words
        .windows(2)
        .filter(|pair| matches!(pair[0], "inet" | "inet6" | "mtu" | "brd"))
        .filter(|pair| !pair[1].starts_with("fe80") && !pair[1].contains("ff:ff"))
        .map(|pair| pair.join(" "))
        .collect();
    if text.contains(",UP") {
        facts.push("up".to_owned());
    }
    facts.sort();
    facts
}

const GLOBAL: [&str; 5] =
    ["brd 10.77.0.255", "inet 10.77.0.2/24", "inet6 fd00:77::2/64", "mtu 1400", "up"];

fn run(container: &mut Container, script: &str) -> anyhow::Result<Output> {
    container.run_script(script)?.success()
}

fn moves(container: &mut Container) -> Test {
    let device = Device::new(container)?;
    container.set("/linux/netDevices", json!({ &device.name: {} }));
    container.start_idle()?;
    let output = container.exec(&["ip", "addr", "show", "dev", &device.name])?.success()?;
    same!(facts(&output.stdout), GLOBAL);
    ensure!(device.on_host().is_err(), "it is still on the host");
    Ok(())
}

fn is_renamed(container: &mut Container) -> Test {
    let device = Device::new(container)?;
    container.set("/linux/netDevices", json!({ &device.name: { "name": "net0" } }));
    let output = run(container, "ip addr show dev net0")?;
    same!(facts(&output.stdout), GLOBAL);
    let label = output.stdout.lines().find(|line| line.contains("10.77.0.2"));
    ensure!(label.context("no address")?.ends_with("net0"), "{}", output.stdout);
    Ok(())
}

/// The kernel numbers a name with `%d`.
fn gets_a_number(container: &mut Container) -> Test {
    let devices = [Device::new(container)?, Device::new(container)?];
    let [first, second] = [&devices[0].name, &devices[1].name];
    let pattern = json!({ "name": "net%d" });
    container.set("/linux/netDevices", json!({ first: pattern, second: pattern }));
    let output = run(container, "ls /sys/class/net | sort")?;
    same!(output.words(), ["lo", "net0", "net1"]);
    Ok(())
}

fn several(container: &mut Container) -> Test {
    let devices = [Device::new(container)?, Device::new(container)?];
    let [first, second] = [&devices[0].name, &devices[1].name];
    container
        .set("/linux/netDevices", json!({ first: { "name": second }, second: { "name": "x" } }));
    let output = run(container, "ls /sys/class/net | sort")?;
    let mut expected = ["lo", second, "x"];
    expected.sort_unstable();
    same!(output.words(), expected);
    Ok(())
}

fn joined_namespace(container: &mut Container) -> Test {
    let mut holder = Command::new("unshare").args(["--net", "sleep", "100"]).spawn()?;
    let pid = holder.id();
    let joined = (|| -> Test {
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let path = format!("/proc/{pid}/ns/net");
        crate::command::wait_until(
            "a network namespace",
            || Ok(std::fs::read_link(&path)? != own),
        )?;
        let device = Device::new(container)?;
        crate::config::namespace(&mut container.config, "network", Some(&path));
        container.set("/linux/netDevices", json!({ &device.name: { "name": "net0" } }));
        same!(facts(&run(container, "ip addr show dev net0")?.stdout), GLOBAL);
        // The namespace goes on, and with it the device.
        same!(facts(&run_again(container)?), GLOBAL);
        Ok(())
    })();
    holder.kill()?;
    holder.wait()?;
    joined
}

fn run_again(container: &mut Container) -> anyhow::Result<String> {
    container.remove("/linux/netDevices");
    Ok(run(container, "ip addr show dev net0")?.stdout)
}

/// Before the runtime's hooks (as runc).
fn is_known_to_hooks(container: &mut Container) -> Test {
    let device = Device::new(container)?;
    container.set("/linux/netDevices", json!({ &device.name: {} }));
    let script = format!("! ip link show {} && touch {}", device.name, container.file("seen"));
    let busybox = container.rootfs().join("bin/busybox");
    let path = format!("PATH={}", busybox.with_file_name("").display());
    let hook = json!({ "path": busybox, "args": ["sh", "-c", script], "env": [path] });
    container.set("/hooks", json!({ "createRuntime": [hook] }));
    run(container, "true")?;
    ensure!(container.directory.join("seen").exists(), "the device was on the host");
    Ok(())
}

fn missing(container: &mut Container) -> Test {
    container.set("/linux/netDevices", json!({ "no-such-device": {} }));
    container.create_refused(&["no-such-device"])
}

fn taken_name(container: &mut Container) -> Test {
    let device = Device::new(container)?;
    let before = device.on_host()?;
    container.set("/linux/netDevices", json!({ &device.name: { "name": "lo" } }));
    container.create_refused(&[&device.name])?;
    same!(device.on_host()?, before);
    Ok(())
}

fn without_a_network_namespace(container: &mut Container) -> Test {
    let device = Device::new(container)?;
    crate::config::namespace(&mut container.config, "network", None);
    container.set("/linux/netDevices", json!({ &device.name: {} }));
    container.create_refused(&["/linux/netDevices"])?;
    device.on_host().map(drop)
}

/// As if it had never been tried, but for routes.
fn a_failed_create_gives_it_back(container: &mut Container) -> Test {
    let device = Device::new(container)?;
    let before = device.on_host()?;
    container.set("/linux/netDevices", json!({ &device.name: { "name": "net0" } }));
    container.set("/process/args", json!(["/no/such/program"]));
    container.create_refused(&["no such file"])?;
    same!(device.on_host()?, before);
    Ok(())
}

fn a_refused_one_keeps_the_others(container: &mut Container) -> Test {
    let device = Device::new(container)?;
    let before = device.on_host()?;
    container.set("/linux/netDevices", json!({ &device.name: {}, "zz-no-such": {} }));
    container.create_refused(&["zz-no-such"])?;
    same!(device.on_host()?, before);
    Ok(())
}
