//! The log, which engines parse.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Test, cases, same};
use crate::command::{called_by, wait_until};
use crate::container::Container;
use crate::skip::Skip;

cases!("log":
    json_is_one_line, json_on_standard_error, text_to_a_file, text_on_standard_error, is_appended_to,
    nothing_on_success, details_of_a_failure, details_of_a_wrong_config, unknown_format, file_that_cannot_be_opened, quotes_are_escaped, usage_errors,
    journal_and_syslog, journal_of_systemd, nobody_listens, file_with_prefix,
);

/// A date and time as RFC 3339 writes it.
pub(super) fn is_time(text: &str) -> bool {
    let form = "dddd-dd-ddTdd:dd:dd";
    let (start, zone) = text.split_at(text.len().min(form.len()));
    let fits = |(one, form): (char, char)| match form {
        'd' => one.is_ascii_digit(),
        form => one == form,
    };
    let zone = zone.trim_start_matches(|one: char| one == '.' || one.is_ascii_digit());
    let is_offset = zone.len() == 6 && (zone.starts_with('+') || zone.starts_with('-'));
    start.len() == form.len()
        && start.chars().zip(form.chars()).all(fits)
        && (zone == "Z" || is_offset)
}

/// A create that fails, with only these flags before it. The words of its error.
fn fail_with(container: &mut Container, flags: &[&str]) -> anyhow::Result<crate::command::Output> {
    container.set("/process/args", json!(["nosuch"]));
    container.save()?;
    let mut command = container.bare_command();
    command.arg("--root").arg(container.root()).args(flags);
    command.args(["create", "--bundle", &container.bundle(), &container.id]);
    container.finish_command(command, Stdio::null())
}

const WORDS: &str = "exec: \"nosuch\": executable file not found in $PATH";

/// containerd reads the last line, Podman the whole file as one object.
fn json_is_one_line(container: &mut Container) -> Test {
    let path = container.file("log.json");
    let output = fail_with(container, &["--log", &path, "--log-format", "json"])?;
    same!(output.code, 1);
    same!((output.log.lines().count(), output.log.ends_with('\n')), (1, true));
    let record: Value = serde_json::from_str(&output.log)?;
    let keys: Vec<&String> = record.as_object().into_iter().flat_map(|all| all.keys()).collect();
    for key in ["level", "msg", "time"] {
        ensure!(keys.iter().any(|known| *known == key), "no {key}");
    }
    same!(record["level"], "error");
    ensure!(is_time(record["time"].as_str().unwrap_or_default()), "{record}");
    ensure!(record["msg"].as_str().is_some_and(|text| text.contains(WORDS)), "{record}");
    // conmon shows what is here if it cannot parse the log.
    ensure!(output.stderr.contains(WORDS), "standard error: {:?}", output.stderr);
    same!(output.stdout, "");
    Ok(())
}

/// The error, which may come after warnings.
fn last_record(output: &crate::command::Output) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(output.log.lines().last().unwrap_or_default())?)
}

/// What a program can read of a failure without understanding the text.
fn details_of_a_failure(container: &mut Container) -> Test {
    let path = container.file("log.json");
    container.mount(json!({ "destination": "/bin/sh", "type": "tmpfs", "source": "tmpfs" }));
    let flags = ["--log", &path, "--log-format", "json"];
    let record = last_record(&fail_with(container, &flags)?)?;
    same!(record["stage"], "mounts");
    same!(record["pointers"], json!(["/mounts/7"]));
    same!((&record["call"], &record["errno"]), (&json!("move_mount"), &json!(22)));
    container.set("/mounts/7/source", json!("/no/such/source"));
    container.set("/mounts/7/options", json!(["bind"]));
    let record = last_record(&fail_with(container, &flags)?)?;
    same!(record["pointers"], json!(["/mounts/7"]));
    same!((&record["call"], &record["errno"]), (&json!("open_tree"), &json!(2)));
    ensure!(record.get("stage").is_none(), "of init, which was not there yet: {record}");
    Ok(())
}

fn details_of_a_wrong_config(container: &mut Container) -> Test {
    let path = container.file("log.json");
    container.set("/process/cwd", json!("relative"));
    container.set("/linux/rootfsPropagation", json!("sideways"));
    let output = fail_with(container, &["--log", &path, "--log-format", "json"])?;
    let record = last_record(&output)?;
    same!(record["pointers"], json!(["/process/cwd", "/linux/rootfsPropagation"]));
    Ok(())
}

fn json_on_standard_error(container: &mut Container) -> Test {
    let output = fail_with(container, &["--log-format", "json"])?;
    let record: Value = serde_json::from_str(&output.stderr)?;
    same!(record["level"], "error");
    ensure!(record["msg"].as_str().is_some_and(|text| text.contains(WORDS)), "{record}");
    Ok(())
}

fn text_to_a_file(container: &mut Container) -> Test {
    let path = container.file("log.txt");
    let output = fail_with(container, &["--log", &path])?;
    let log = fs::read_to_string(&path)?;
    same!(log.lines().count(), 1);
    ensure!(log.contains("level=error") && log.contains("msg=") && log.contains("time="), "{log}");
    ensure!(log.contains("executable file not found in $PATH"), "{log}");
    ensure!(output.stderr.contains(WORDS), "standard error: {:?}", output.stderr);
    Ok(())
}

fn text_on_standard_error(container: &mut Container) -> Test {
    let output = fail_with(container, &[])?;
    same!(output.stderr.lines().count(), 1);
    ensure!(output.stderr.contains("executable file not found in $PATH"), "{:?}", output.stderr);
    Ok(())
}

fn is_appended_to(container: &mut Container) -> Test {
    let path = container.file("log.txt");
    fs::write(&path, "before\n")?;
    fail_with(container, &["--log", &path])?;
    fail_with(container, &["--log", &path])?;
    let log = fs::read_to_string(&path)?;
    same!((log.lines().count(), log.lines().next()), (3, Some("before")));
    Ok(())
}

fn nothing_on_success(container: &mut Container) -> Test {
    let path = container.file("log.txt");
    container.save()?;
    for format in ["text", "json"] {
        let mut command = container.bare_command();
        command.arg("--root").arg(container.root()).args(["--log", &path, "--log-format", format]);
        command.args(["run", "--bundle", &container.bundle(), &container.id]);
        let output = container.finish_command(command, Stdio::null())?.success()?;
        same!(output.stderr, "");
        same!(fs::read_to_string(&path).unwrap_or_default(), "");
    }
    Ok(())
}

fn unknown_format(container: &mut Container) -> Test {
    let output = fail_with(container, &["--log-format", "xml"])?;
    container.refused(&output, &["xml"])
}

fn file_that_cannot_be_opened(container: &mut Container) -> Test {
    let output = fail_with(container, &["--log", "/no/such/directory/log"])?;
    container.refused(&output, &["/no/such/directory/log"])
}

fn quotes_are_escaped(container: &mut Container) -> Test {
    container.set("/process/args", json!(["a\"b\\c\nd\u{1}e"]));
    container.save()?;
    let output = container.runtime(&["create", "--bundle", &container.bundle(), &container.id])?;
    same!(output.log.lines().count(), 1);
    let record: Value = serde_json::from_str(&output.log)?;
    ensure!(record["msg"].as_str().is_some_and(|text| !text.contains('\n')), "{record}");
    Ok(())
}

/// Whoever calls the runtime reads its log, whatever is wrong.
fn usage_errors(container: &mut Container) -> Test {
    for (arguments, wrong) in [
        (&["--no-such-flag", "list"][..], "'--no-such-flag'"),
        (&["create"], "not provided: <ID>; "),
        (&["exec", "--no-such-flag", "a", "b"], "'--no-such-flag'"),
        (&["no-such-command"], "'no-such-command'; "),
    ] {
        let _ = fs::remove_file(container.file("log.json"));
        let output = container.runtime(arguments)?;
        ensure!(output.code != 0, "{arguments:?} is accepted");
        same!(output.log.lines().count(), 1);
        let record: Value = serde_json::from_str(&output.log)?;
        same!(record["level"], "error");
        ensure!(record["msg"].as_str().is_some_and(|text| text.contains(wrong)), "{record}");
    }
    Ok(())
}

/// Asks for a container that is not there, with this log.
fn ask_for_nothing(
    container: &Container,
    flags: &[&str],
    mount: Option<(&str, &str)>,
) -> anyhow::Result<crate::command::Output> {
    let mut command = container.bare_command();
    command.arg("--root").arg(container.root()).args(flags).args(["state", &container.id]);
    if let Some((socket, place)) = mount {
        let mut shell = Command::new("unshare");
        let script = format!(
            r#"mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev && mkdir -p "$(dirname {place})" &&
               : >{place} && mount --bind {socket} {place} && exec "$0" "$@""#
        );
        shell.args(["--mount", "sh", "-c", &script]);
        command = called_by(shell, &command);
    }
    // A runtime that takes it for the name of a file makes that there.
    command.current_dir(&container.directory);
    container.finish_command(command, Stdio::null())
}

const NOTHING: &str = "container does not exist";

/// What comes to a socket in place of theirs.
fn journal_and_syslog(container: &mut Container) -> Test {
    let field = |name: &str, value: &str| {
        let length = (value.len() as u64).to_le_bytes();
        [name.as_bytes(), b"\n", &length[..], value.as_bytes(), b"\n"].concat()
    };
    let entry = [
        field("MESSAGE", NOTHING),
        field("PRIORITY", "3"),
        field("SYSLOG_IDENTIFIER", "aril"),
        field("ID", "a b"),
    ];
    let journal = "/run/systemd/journal/socket";
    for (log, place, expected) in [
        ("journald:a b", journal, entry.concat()),
        ("journald:", journal, entry[..3].concat()),
        ("syslog:conmon", "/dev/log", format!("<11>conmon: {NOTHING}").into_bytes()),
        ("syslog:", "/dev/log", format!("<11>aril: {NOTHING}").into_bytes()),
    ] {
        let path = container.file("socket");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let output = ask_for_nothing(container, &["--log", log], Some((&path, place)))?;
        output.fails(1, &[NOTHING])?;
        let mut buffer = [0; 1000];
        let length = socket.recv(&mut buffer).with_context(|| format!("{log}: nothing comes"))?;
        same!(String::from_utf8_lossy(&buffer[..length]), String::from_utf8_lossy(&expected));
        fs::remove_file(&path)?;
    }
    Ok(())
}

fn journal_of_systemd(container: &mut Container) -> Test {
    if !Path::new("/run/systemd/journal/socket").exists() {
        return Err(Skip("no journal here".to_owned()).into());
    }
    let log = format!("journald:{}", container.id);
    ask_for_nothing(container, &["--log", &log], None)?.fails(1, &[NOTHING])?;
    wait_until("the journal has it", || {
        let id = format!("ID={}", container.id);
        let shown = Command::new("journalctl").args(["-o", "cat", "-p", "err", &id]).output()?;
        Ok(String::from_utf8_lossy(&shown.stdout).trim() == NOTHING)
    })
}

fn nobody_listens(container: &mut Container) -> Test {
    let path = container.file("socket");
    drop(UnixDatagram::bind(&path)?);
    let output = ask_for_nothing(
        container,
        &["--log", "journald:x"],
        Some((&path, "/run/systemd/journal/socket")),
    )?;
    output.fails(1, &["--log", "journald:x", "/run/systemd/journal/socket"])
}

fn file_with_prefix(container: &mut Container) -> Test {
    let path = container.file("log.txt");
    ask_for_nothing(container, &["--log", &format!("file:{path}")], None)?.fails(1, &[NOTHING])?;
    ensure!(fs::read_to_string(&path)?.contains(NOTHING), "nothing is logged");
    Ok(())
}
