//! The log: one line for an error, in runc's schema where JSON is asked for, since containerd and
//! Podman parse it; and the same words for a person on standard error.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::Context as _;
use libcontainer::Details;
use libcontainer::wording::{escaped, plain};
use serde_json::{Value, json};

use crate::arguments::{Globals, LogFormat};

struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log that the flags name.
pub(crate) fn open(globals: &Globals) -> anyhow::Result<()> {
    let open = |path| {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o644);
        options.open(path).with_context(|| format!("--log {path:?}"))
    };
    let file = globals.log.as_ref().map(open).transpose()?;
    let debug =
        globals.debug || matches!(globals.log_level.as_deref(), Some("debug" | "warning" | "info"));
    let _ = LOG.set(Log { file, json: globals.log_format == LogFormat::Json, debug });
    Ok(())
}

/// Logs the error that ends the program. A program that reads JSON gets the details beside the words.
pub(crate) fn error(message: &str, details: &Details) {
    let log = LOG.get();
    let message = escaped(message);
    write("error", &message, details);
    if log.is_some_and(|log| log.file.is_some()) {
        // The error is on its way already; a closed standard error changes nothing about it.
        let _ = writeln!(std::io::stderr(), "aril: {message}");
    }
}

/// Logs a warning, with --debug: a second line in a log of Podman's would hide the error.
pub(crate) fn warn(message: &str) {
    if LOG.get().is_some_and(|log| log.debug) {
        write("warning", &escaped(&plain(message)), &Details::default());
    }
}

fn write(level: &str, message: &str, details: &Details) {
    let log = LOG.get();
    let time = humantime::format_rfc3339_seconds(SystemTime::now());
    let line = match log {
        Some(Log { json: true, .. }) => {
            let mut line = json!({ "level": level, "msg": message, "time": time.to_string() });
            add(&mut line, details);
            line.to_string()
        }
        Some(Log { file: Some(_), .. }) => format!("time=\"{time}\" level={level} msg={message:?}"),
        _ if level == "error" => format!("aril: {message}"),
        _ => format!("aril: {level}: {message}"),
    };
    let line = format!("{line}\n");
    let _ = match log.and_then(|log| log.file.as_ref()) {
        Some(mut file) => file.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

/// Adds what is known.
fn add(line: &mut Value, details: &Details) {
    let Details { stage, pointers, call, errno } = details;
    let known = [
        ("stage", stage.map(Value::from)),
        ("pointers", (!pointers.is_empty()).then(|| json!(pointers))),
        ("call", call.as_deref().map(Value::from)),
        ("errno", errno.map(Value::from)),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            line[name] = value;
        }
    }
}
