//! `$NOTIFY_SOCKET`: a program says that it is ready, and the service manager of whoever called hears of it.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::hostile::add_hostile;
use super::{Test, cases, same};
use crate::command::{Output, wait, wait_until};
use crate::config;
use crate::container::Container;
use crate::notify::{FLAG, Manager};

cases!("notify":
    start_waits, detached_run_waits, foreground_goes_on, abstract_name, barrier, what_is_not_ready, ends_without_a_word, run_ends_without_a_word,
    foreground_without_a_word, place_of_the_socket, place_that_is_taken, in_a_user_namespace, without_a_mount_namespace, not_for_exec, variable_of_the_config,
    nobody_listens, run_where_nobody_listens, no_address, only_at_start, only_at_create, interrupted_start, interrupted_run, after_a_killed_start,
);

/// What takes until a program is ready.
const WORK: Duration = Duration::from_millis(400);

/// A script's command that says `message`.
fn say(message: &str) -> String {
    format!("/hostile {FLAG} '{message}'")
}

/// Has the program say `message` after a while, and do `then`.
fn prepare(container: &mut Container, message: &str, then: &str) -> Test {
    add_hostile(container)?;
    container.script(&format!("sleep 0.5; {}; {then}", say(message)));
    container.save()
}

/// Gives the container short names: runc listens at the whole path of its state, which has no room for long ones.
fn shorten(container: &mut Container) -> Test {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("n{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let short = std::env::temp_dir().join(&name);
    fs::rename(&container.directory, &short)?;
    container.directory = short;
    container.id = format!("t{}-{name}", container.runtime.token);
    Ok(())
}

fn listen(container: &mut Container, is_abstract: bool) -> anyhow::Result<Manager> {
    shorten(container)?;
    Manager::new(&container.id, is_abstract)
}

/// A command with the variable.
fn command(container: &Container, args: &[&str], address: &str) -> Command {
    let mut command = container.command(args);
    command.env("NOTIFY_SOCKET", address);
    command
}

fn verb(container: &Container, args: &[&str], address: &str) -> anyhow::Result<Output> {
    container.finish_command(command(container, args, address), Stdio::null())
}

fn create(container: &Container, address: &str) -> anyhow::Result<Output> {
    container.save()?;
    verb(container, &["create", "--bundle", &container.bundle(), &container.id], address)
}

fn start(container: &Container, address: &str) -> anyhow::Result<Output> {
    verb(container, &["start", &container.id], address)
}

fn run(container: &Container, flags: &[&str], address: &str) -> anyhow::Result<Output> {
    container.save()?;
    let bundle = container.bundle();
    verb(container, &[&["run", "--bundle", &bundle], flags, &[&container.id]].concat(), address)
}

fn spawn(mut command: Command) -> anyhow::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// What a service manager hears of a program that is ready.
fn ready(pid: i64) -> [String; 2] {
    ["READY=1".to_owned(), format!("MAINPID={pid}")]
}

fn is_started_when_ready(container: &mut Container, is_abstract: bool) -> Test {
    let manager = listen(container, is_abstract)?;
    prepare(container, "READY=1", "exec sleep 100")?;
    let called = Instant::now();
    create(container, &manager.address)?.success()?;
    ensure!(called.elapsed() < WORK, "create waits for what can not be");
    let called = Instant::now();
    start(container, &manager.address)?.success()?;
    ensure!(called.elapsed() > WORK, "start does not wait");
    same!(manager.finish()?, ready(container.pid()?));
    Ok(())
}

fn start_waits(container: &mut Container) -> Test {
    is_started_when_ready(container, false)
}

fn abstract_name(container: &mut Container) -> Test {
    is_started_when_ready(container, true)
}

fn detached_run_waits(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    prepare(container, "READY=1", "exec sleep 100")?;
    let called = Instant::now();
    run(container, &["--detach"], &manager.address)?.success()?;
    ensure!(called.elapsed() > WORK, "run does not wait");
    same!(manager.finish()?, ready(container.pid()?));
    Ok(())
}

/// The service manager goes on to watch whoever waits for the program.
fn foreground_goes_on(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    prepare(container, "READY=1", "exit 7")?;
    let bundle = container.bundle();
    let mut child =
        spawn(command(container, &["run", "--bundle", &bundle, &container.id], &manager.address))?;
    let pid = i64::from(child.id());
    same!(wait(&mut child)?, 7);
    same!(manager.finish()?, ready(pid));
    container.nothing_left()
}

/// One who has read the message may need its sender to be there still.
fn barrier(container: &mut Container) -> Test {
    shorten(container)?;
    let proxy = Slow::new(&container.id)?;
    prepare(container, "READY=1", "exec sleep 100")?;
    create(container, &proxy.address)?.success()?;
    let mut child = spawn(command(container, &["start", &container.id], &proxy.address))?;
    proxy.hold_barrier(&mut child)?;
    same!(wait(&mut child)?, 0);
    Ok(())
}

/// A service manager that takes its time.
struct Slow {
    address: String,
    socket: std::os::unix::net::UnixDatagram,
}

impl Slow {
    fn new(name: &str) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("notify-slow-{}-{name}", std::process::id()));
        let socket = std::os::unix::net::UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(crate::command::patience()))?;
        Ok(Self { address: path.display().to_string(), socket })
    }

    /// Does not read the barrier for a while, in which the command must not end.
    fn hold_barrier(self, child: &mut Child) -> Test {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer)?;
        ensure!(buffer[..length].starts_with(b"READY=1"), "no READY=1 first");
        std::thread::sleep(WORK);
        ensure!(child.try_wait()?.is_none(), "start does not wait for the barrier");
        while self.socket.recv(&mut buffer)? != b"BARRIER=1".len() {}
        Ok(fs::remove_file(&self.address)?)
    }
}

/// What a program says is believed only if it is that, and nothing of it goes on to the host.
fn what_is_not_ready(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    add_hostile(container)?;
    let others = ["READY=10", "READY=0", "MAINPID=1", "READY=1 ", "RELOADING=1", "STOPPING=1"];
    let others: Vec<String> = others.iter().map(|message| say(message)).collect();
    container.script(&format!(
        "{}; {}; sleep 0.5; {}; exec sleep 100",
        others.join("; "),
        say(&format!("READY=1\n{}", "x".repeat(5000))),
        say("STATUS=there\nREADY=1\nMAINPID=1"),
    ));
    create(container, &manager.address)?.success()?;
    let called = Instant::now();
    start(container, &manager.address)?.success()?;
    ensure!(called.elapsed() > WORK, "start does not wait");
    same!(manager.finish()?, ready(container.pid()?));
    Ok(())
}

fn ends_without_a_word(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    container.script("exit 5");
    create(container, &manager.address)?.success()?;
    start(container, &manager.address)?.success()?;
    same!(container.state()?["status"], "stopped");
    same!(manager.finish()?, Vec::<String>::new());
    Ok(())
}

fn run_ends_without_a_word(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    container.script("exit 5");
    run(container, &["--detach"], &manager.address)?.success()?;
    same!(manager.finish()?, Vec::<String>::new());
    Ok(())
}

fn foreground_without_a_word(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    container.script("exit 5");
    same!(run(container, &[], &manager.address)?.code, 5);
    same!(manager.finish()?, Vec::<String>::new());
    container.nothing_left()
}

/// Where runc has it; whoever the program is, it can write to the socket, and to nothing beside it. The root is
/// read-only, and /run is no mount of its own.
fn place_of_the_socket(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    add_hostile(container)?;
    container.set("/root/readonly", json!(true));
    container.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let script = "echo $NOTIFY_SOCKET; touch /run/notify/x 2>&1; ls /run/notify; \
                  sed -n 's:.* /run/notify \\(\\S*\\) .*:\\1:p' /proc/self/mountinfo";
    container.script(&format!("{script}; {}", say("READY=1")));
    let output = run(container, &[], &manager.address)?.success()?;
    let lines = output.lines();
    same!(lines.first(), Some(&"/run/notify/notify.sock"));
    ensure!(lines.iter().any(|line| line.contains("ead-only file system")), "{lines:?}");
    ensure!(lines.contains(&"notify.sock"), "{lines:?}");
    let options = lines.last().copied().unwrap_or_default();
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        ensure!(options.split(',').any(|one| one == option), "{options}");
    }
    same!(manager.finish()?.len(), 2);
    container.nothing_left()
}

fn in_a_user_namespace(container: &mut Container) -> Test {
    config::add_user_namespace(&mut container.config);
    // The image belongs to the machine's root.
    container.mount(json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs" }));
    fs::create_dir(container.rootfs().join("run"))?;
    is_started_when_ready(container, false)
}

fn without_a_mount_namespace(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    let namespaces = container.config["linux"]["namespaces"].as_array().cloned();
    let others = namespaces.into_iter().flatten().filter(|one| one["type"] != "mount");
    let others: Vec<_> = others.collect();
    container.set("/linux/namespaces", json!(others));
    for pointer in ["/mounts", "/linux/maskedPaths", "/linux/readonlyPaths"] {
        container.remove(pointer);
    }
    container.set("/root/readonly", json!(false));
    let output = create(container, &manager.address)?;
    manager.finish()?;
    container.refused(&output, &["/linux/namespaces", "NOTIFY_SOCKET"])
}

fn not_for_exec(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    prepare(container, "READY=1", "exec sleep 100")?;
    run(container, &["--detach"], &manager.address)?.success()?;
    let output = container.exec(&["env"])?.success()?;
    ensure!(!output.stdout.contains("NOTIFY_SOCKET"), "{}", output.stdout);
    manager.finish()?;
    Ok(())
}

fn variable_of_the_config(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    container.push("/process/env", json!("NOTIFY_SOCKET=/another"));
    add_hostile(container)?;
    container.script(&format!("echo $NOTIFY_SOCKET; {} >/dev/null 2>&1; true", say("READY=1")));
    let output = run(container, &[], &manager.address)?;
    manager.finish()?;
    same!(output.success()?.lines(), ["/run/notify/notify.sock"]);
    // Nobody has asked for one: what the config says is the program's own affair.
    same!(container.run()?.success()?.lines(), ["/another"]);
    Ok(())
}

/// Nothing is lost: the container can be started.
fn nobody_listens(container: &mut Container) -> Test {
    shorten(container)?;
    let missing = container.file("missing");
    container.script("exec sleep 100");
    create(container, &missing)?.success()?;
    start(container, &missing)?.fails(1, &["missing", "no such file or directory"])?;
    same!(container.state()?["status"], "created");
    container.verb("start")?.success()?;
    container.wait_for("running")
}

/// It is no mount of the config that fails.
fn place_that_is_taken(container: &mut Container) -> Test {
    shorten(container)?;
    fs::write(container.rootfs().join("run"), "")?;
    let missing = container.file("missing");
    let output = create(container, &missing)?;
    container.refused(&output, &["NOTIFY_SOCKET /run/notify"])?;
    ensure!(!output.message().contains("mounts["), "{}", output.message());
    Ok(())
}

fn run_where_nobody_listens(container: &mut Container) -> Test {
    shorten(container)?;
    let path = container.file("dead");
    drop(std::os::unix::net::UnixDatagram::bind(&path)?);
    for flags in [&[][..], &["--detach"]] {
        let output = run(container, flags, &path)?;
        container.refused(&output, &["NOTIFY_SOCKET", "connection refused"])?;
    }
    Ok(())
}

fn no_address(container: &mut Container) -> Test {
    shorten(container)?;
    container.save()?;
    for wrong in ["relative", "@", "vsock:2:1"] {
        let output = create(container, wrong)?;
        container.refused(&output, &["NOTIFY_SOCKET", wrong])?;
    }
    container.script("true");
    run(container, &[], "")?.success()?;
    Ok(())
}

/// An engine that is a service itself passes its own variable on, to commands that are not asked to notify anybody.
fn only_at_start(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    container.script("exec sleep 100");
    container.create()?.success()?;
    start(container, &manager.address)?.success()?;
    same!(container.state()?["status"], "running");
    same!(manager.finish()?, Vec::<String>::new());
    Ok(())
}

fn only_at_create(container: &mut Container) -> Test {
    shorten(container)?;
    container.script("exec sleep 100");
    create(container, "/no/such")?.success()?;
    container.verb("start")?.success()?;
    same!(container.state()?["status"], "running");
    Ok(())
}

/// Interrupts a command that waits for a word.
fn interrupted(container: &Container, args: &[&str], address: &str) -> anyhow::Result<i32> {
    let mut child = spawn(command(container, args, address))?;
    let at_work = || Ok(fs::exists(container.file("report/runs"))?);
    let sent = wait_until("the program runs", at_work).and_then(|()| {
        std::thread::sleep(WORK);
        ensure!(child.try_wait()?.is_none(), "it does not wait");
        Ok(kill_process(Pid::from_child(&child), Signal::TERM)?)
    });
    let code = wait(&mut child)?;
    sent.map(|()| code)
}

/// The program runs already.
fn interrupted_start(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    add_hostile(container)?;
    container.script("touch /report/runs; exec sleep 100");
    create(container, &manager.address)?.success()?;
    same!(interrupted(container, &["start", &container.id], &manager.address)?, -15);
    same!(container.state()?["status"], "running");
    same!(manager.finish()?, Vec::<String>::new());
    Ok(())
}

/// A run that fails leaves nothing.
fn interrupted_run(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    add_hostile(container)?;
    container.script("touch /report/runs; exec sleep 100");
    container.save()?;
    let bundle = container.bundle();
    let args = ["run", "--detach", "--bundle", &bundle, &container.id];
    same!(interrupted(container, &args, &manager.address)?, 1);
    same!(manager.finish()?, Vec::<String>::new());
    container.nothing_left()
}

/// What a start that was killed has left at the place.
fn after_a_killed_start(container: &mut Container) -> Test {
    let manager = listen(container, false)?;
    prepare(container, "READY=1", "exec sleep 100")?;
    create(container, &manager.address)?.success()?;
    fs::write(container.root().join(&container.id).join("notify/notify.sock"), "")?;
    start(container, &manager.address)?.success()?;
    same!(manager.finish()?, ready(container.pid()?));
    Ok(())
}
