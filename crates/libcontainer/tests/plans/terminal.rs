//! A terminal and whoever shows it: one rule, for a container and for a process in one.

use std::path::Path;

use libcontainer::request::{self, Console};
use libcontainer::{Violation, plan};
use oci_spec::runtime::{Process, Spec};
use serde_json::json;

use crate::hosts::{base, legacy, set};

/// What is wrong when a program, with a terminal or without, is asked for with `console`; the same
/// for `create` and for `exec`.
fn wrong(terminal: bool, console: &Console) -> Vec<String> {
    let mut config = base();
    set(&mut config, "/process/terminal", json!(terminal));
    let request = request::Create {
        id: "c1".to_owned(),
        console: console.clone(),
        ..request::Create::default()
    };
    let spec: Spec = serde_json::from_value(config).unwrap();
    let created = plan::create(&spec, &legacy(), &request, Path::new("/bundle")).err();
    let process: Process = spec.process().clone().unwrap();
    let request = request::Exec { console: console.clone(), ..request::Exec::default() };
    let none = libnamespaces::KindSet::EMPTY;
    let joined = plan::exec(&process, &legacy(), none, &request).err();
    let told = |found: Option<Vec<Violation>>, prefix: &str| -> Vec<String> {
        let pointer = |one: &Violation| one.pointer.strip_prefix(prefix).map(str::to_owned);
        found.into_iter().flatten().map(|one| pointer(&one).unwrap() + ": " + &one.rule).collect()
    };
    let (created, joined) = (told(created, "/process"), told(joined, ""));
    assert_eq!(created, joined);
    created
}

#[test]
fn somebody_shows_each_terminal() {
    let socket = || Some("/run/socket".into());
    let allowed = [
        (true, Console { detach: false, socket: None }),
        (true, Console { detach: false, socket: socket() }),
        (true, Console { detach: true, socket: socket() }),
        (false, Console { detach: false, socket: None }),
        (false, Console { detach: true, socket: None }),
    ];
    for (terminal, console) in allowed {
        assert_eq!(wrong(terminal, &console), [""; 0], "{terminal} {console:?}");
    }
    let refused = [
        (true, Console { detach: true, socket: None }, "cannot allocate tty"),
        (false, Console { detach: true, socket: socket() }, "cannot use console socket"),
        (false, Console { detach: false, socket: socket() }, "cannot use console socket"),
    ];
    for (terminal, console, rule) in refused {
        let found = wrong(terminal, &console);
        let [one] = found.as_slice() else { panic!("{terminal} {console:?}: {found:?}") };
        assert!(one.starts_with(&format!("/terminal: {rule}")), "{one}");
    }
}
