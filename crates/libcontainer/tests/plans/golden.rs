//! Golden plans. `UPDATE_GOLDEN=1 cargo test -p libcontainer --test plans` writes them again; read
//! the difference before committing it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use libcgroups::DeviceAccess;
use libcontainer::host::Host;
use libcontainer::plan::{self, Plan};
use libcontainer::request;
use libnamespaces::KindSet;
use serde_json::Value;

use crate::hosts::{self, labelling, legacy, rootless, unified};

/// Compares `text` with the golden file of `name`.
#[track_caller]
fn check(name: &str, text: &str) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let same = expected.lines().zip(text.lines()).take_while(|(left, right)| left == right).count();
    assert!(
        expected == text,
        "the plan of {name} has changed at line {}:\n- {}\n+ {}\nUPDATE_GOLDEN=1 writes it again",
        same + 1,
        expected.lines().nth(same).unwrap_or(""),
        text.lines().nth(same).unwrap_or("")
    );
}

/// The plan as text, without the programs, which their own crates test.
fn text_of(mut plan: Plan, warnings: &[String]) -> String {
    let mut text = String::new();
    for warning in warnings {
        writeln!(text, "warning: {warning}").unwrap();
    }
    if let DeviceAccess::Unified(program) = &mut plan.device_access {
        writeln!(text, "device program: {}", size(program.len())).unwrap();
        program.clear();
    }
    if plan.confinement.seccomp.take().is_some() {
        writeln!(text, "seccomp filter: yes").unwrap();
    }
    writeln!(text, "{plan:#?}").unwrap();
    text
}

/// Whether there is something, not how much: that changes with every improvement of a compiler.
const fn size(length: usize) -> &'static str {
    if length == 0 { "empty" } else { "yes" }
}

#[track_caller]
fn check_config(name: &str, config: &Value, host: &Host) {
    match hosts::plan(config, host) {
        Ok(planned) => check(name, &text_of(planned.plan, &planned.warnings)),
        Err(violations) => panic!("{name}: {violations:#?}"),
    }
}

fn bundle(name: &str, file: &str) -> Value {
    let bundles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bundles");
    let path: PathBuf = bundles.join(name).join(file);
    let mut text = fs::read_to_string(path).unwrap();
    let places = [
        ("@ROOTFS@", "/rootfs"),
        ("@BUNDLE@", "/files"),
        ("@VOLUME@", "/volume"),
        ("@EXEC_ROOT@", "/run/docker"),
        ("@HOOK@", "/proc/1/exe"),
        ("@SHORT_ID@", "0123456789ab"),
        ("@ID@", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
    ];
    for (placeholder, place) in places {
        text = text.replace(placeholder, place);
    }
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_default_config() {
    check_config("default", &libcontainer::default_spec(None, true), &legacy());
}

#[test]
fn the_default_config_for_a_user() {
    check_config("rootless", &libcontainer::default_spec(Some((1000, 1000)), true), &rootless());
}

#[test]
fn an_empty_config() {
    let config = serde_json::json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}});
    check_config("empty", &config, &legacy());
}

/// Every property that aril supports, each with a value of its own.
#[test]
fn everything() {
    let text = include_str!("everything.json");
    check_config("everything", &serde_json::from_str(text).unwrap(), &labelling());
}

#[test]
fn what_engines_ask_for() {
    check_config("docker-limits", &bundle("docker-limits", "config.json"), &legacy());
    check_config("docker-readonly", &bundle("docker-readonly", "config.json"), &legacy());
    check_config("docker-plain-v2", &bundle("docker-plain-v2", "config.json"), &unified());
    check_config("containerd-seccomp", &bundle("containerd-seccomp", "config.json"), &legacy());
}

/// All recorded configs, on both kinds of machines.
#[test]
fn no_engine_hears_a_warning() {
    let bundles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bundles");
    let mut count = 0;
    for entry in fs::read_dir(bundles).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("config.json").exists() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        for host in [legacy(), unified()] {
            let planned = hosts::plan(&bundle(name, "config.json"), &host).unwrap();
            assert_eq!(planned.warnings, [""; 0], "{name}");
        }
        count += 1;
    }
    assert!(count >= 10);
}

#[test]
fn docker_exec() {
    let process = serde_json::from_value(bundle("docker-exec", "process.json")).unwrap();
    let request = request::Exec::default();
    let planned = plan::exec(&process, &legacy(), KindSet::EMPTY, &request).unwrap();
    assert_eq!(planned.warnings, [""; 0]);
    check("docker-exec", &format!("{:#?}\n", planned.plan));
}
