//! One container of one test: its bundle, its state directory, and the commands on it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

use crate::command::{self, Output, wait_until};
use crate::config;
use crate::leftovers::{MARK, Traces};
use crate::removal::remove_tree;
use crate::runtime::Runtime;

/// A bundle, an id, and a state directory of its own.
#[derive(Debug)]
pub(crate) struct Container {
    pub runtime: Runtime,
    pub id: String,
    /// The bundle.
    pub directory: PathBuf,
    /// What config.json will be.
    pub config: Value,
    /// A directory outside of the bundle, where escapes aim.
    pub victim: PathBuf,
    /// Flags before the verb of every command.
    pub flags: &'static [&'static str],
}

impl Container {
    /// Makes a bundle with busybox and the default config.
    pub(crate) fn new(runtime: &Runtime, name: &str) -> anyhow::Result<Self> {
        let id = format!("t{}-{}", runtime.token, name.replace("::", "-"));
        let directory = std::env::temp_dir().join(format!("container-test-{id}"));
        let victim = std::env::temp_dir().join(format!("container-victim-{id}"));
        let config = config::default();
        let container =
            Self { runtime: runtime.clone(), id, directory, config, victim, flags: &[] };
        container.make_files().context("make the bundle")?;
        Ok(container)
    }

    fn make_files(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.victim)?;
        for name in ["bin", "etc", "proc", "sys", "dev", "tmp", "root", "home", "mnt"] {
            fs::create_dir_all(self.rootfs().join(name))?;
        }
        // A container's root that is another user of the machine must be able to come here.
        for path in [&self.directory, &self.rootfs()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(
            self.rootfs().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n1000:x:0:0::/:/bin/sh\n",
        )?;
        let bin = self.rootfs().join("bin");
        fs::copy(&self.runtime.busybox, bin.join("busybox"))?;
        for applet in self.runtime.applets.iter().filter(|applet| *applet != "busybox") {
            symlink("busybox", bin.join(applet))?;
        }
        Ok(())
    }

    /// The root filesystem's directory.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Where the runtime keeps its state.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The bundle's path as an argument.
    pub(crate) fn bundle(&self) -> String {
        self.directory.display().to_string()
    }

    /// The path of a file in the bundle as an argument.
    pub(crate) fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Sets what is at a pointer of the config.
    pub(crate) fn set(&mut self, pointer: &str, value: Value) {
        config::set(&mut self.config, pointer, value);
    }

    /// Removes what is at a pointer of the config.
    pub(crate) fn remove(&mut self, pointer: &str) {
        config::remove(&mut self.config, pointer);
    }

    /// Adds to a list of the config.
    pub(crate) fn push(&mut self, pointer: &str, value: Value) {
        config::push(&mut self.config, pointer, value);
    }

    /// Adds a mount.
    pub(crate) fn mount(&mut self, value: Value) {
        self.push("/mounts", value);
    }

    /// Sets the program to a shell script.
    pub(crate) fn script(&mut self, script: &str) {
        self.set("/process/args", serde_json::json!(["/bin/sh", "-c", script]));
    }

    /// Writes config.json.
    pub(crate) fn save(&self) -> anyhow::Result<()> {
        Ok(fs::write(self.directory.join("config.json"), self.config.to_string())?)
    }

    /// Does `test` beside another container that idles, with the config that `prepare` gives it.
    pub(crate) fn beside<T>(
        &mut self,
        prepare: impl FnOnce(&mut Self),
        test: impl FnOnce(&mut Self, &Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut other = Self::new(&self.runtime, &format!("{}-other", self.id))?;
        prepare(&mut other);
        let tested = other.start_idle().and_then(|()| test(self, &other));
        other.finish()?;
        tested
    }

    /// Runs the program of the config in a new container, in the foreground.
    pub(crate) fn run(&self) -> anyhow::Result<Output> {
        self.run_with(&[])
    }

    /// The same, with more flags.
    pub(crate) fn run_with(&self, flags: &[&str]) -> anyhow::Result<Output> {
        self.save()?;
        let bundle = self.bundle();
        self.runtime(&[&["run", "--bundle", &bundle], flags, &[&self.id]].concat())
    }

    /// Runs `script` in a new container, in the foreground.
    pub(crate) fn run_script(&mut self, script: &str) -> anyhow::Result<Output> {
        self.script(script);
        self.run()
    }

    /// Creates the container of the config as it is.
    pub(crate) fn create(&self) -> anyhow::Result<Output> {
        self.create_with(&[])
    }

    /// The same, with more flags.
    pub(crate) fn create_with(&self, flags: &[&str]) -> anyhow::Result<Output> {
        self.save()?;
        let bundle = self.bundle();
        self.runtime(&[&["create", "--bundle", &bundle], flags, &[&self.id]].concat())
    }

    /// Creates and starts a container that runs `script`.
    pub(crate) fn start_script(&mut self, script: &str) -> anyhow::Result<()> {
        self.script(script);
        self.create()?.success()?;
        self.verb("start")?.success()?;
        Ok(())
    }

    /// Creates and starts a container that does nothing until it is killed.
    pub(crate) fn start_idle(&mut self) -> anyhow::Result<()> {
        self.start_script("exec sleep 100")
    }

    /// A command that takes the id alone.
    pub(crate) fn verb(&self, verb: &str) -> anyhow::Result<Output> {
        self.runtime(&[verb, &self.id])
    }

    /// A process in the container.
    pub(crate) fn exec(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.exec_with(&[], args)
    }

    /// The same, with flags.
    pub(crate) fn exec_with(&self, flags: &[&str], args: &[&str]) -> anyhow::Result<Output> {
        self.runtime(&[&["exec"], flags, &[&self.id], args].concat())
    }

    /// The runtime with its state directory, a log, and `args`.
    pub(crate) fn runtime(&self, args: &[&str]) -> anyhow::Result<Output> {
        self.finish_command(self.command(args), Stdio::null())
    }

    /// The same, not started yet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.bare_command();
        command.arg("--root").arg(self.root());
        command.arg("--log").arg(self.directory.join("log.json")).args(["--log-format", "json"]);
        command.args(self.flags).args(args);
        command
    }

    /// The runtime without any argument.
    pub(crate) fn bare_command(&self) -> Command {
        let mut command = Command::new(&self.runtime.binary);
        command.env(MARK, &self.id);
        command
    }

    /// Runs a command to its end.
    pub(crate) fn finish_command(&self, command: Command, stdin: Stdio) -> anyhow::Result<Output> {
        command::finish(command, &self.directory, stdin)
    }

    /// The state document.
    pub(crate) fn state(&self) -> anyhow::Result<Value> {
        self.verb("state")?.success()?.json()
    }

    /// The pid of the container's first process.
    pub(crate) fn pid(&self) -> anyhow::Result<i64> {
        self.state()?["pid"].as_i64().context("no pid")
    }

    /// What `ps` gives: the pids of all processes.
    pub(crate) fn pids(&self) -> anyhow::Result<Vec<i64>> {
        let list = self.runtime(&["ps", "--format", "json", &self.id])?.success()?.json()?;
        Ok(list.as_array().into_iter().flatten().filter_map(Value::as_i64).collect())
    }

    /// Waits until the container is in `status`.
    pub(crate) fn wait_for(&self, status: &str) -> anyhow::Result<()> {
        wait_until(status, || Ok(self.state()?["status"] == status))
    }

    /// Waits until the program of a `run` runs, and nobody is at work on the container any more: who is
    /// stopped before that keeps everybody else out. A second start waits for its turn, and is refused.
    pub(crate) fn wait_for_run(&self) -> anyhow::Result<()> {
        let runs = || Ok(self.verb("state")?.json().is_ok_and(|one| one["status"] == "running"));
        wait_until("running", runs)?;
        self.verb("start")?.fails(1, &["cannot start an already running container"])
    }

    /// Pauses the container. On v1 runc gives up ("unable to freeze") when the processes are not frozen soon enough, and
    /// its callers try again.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        wait_until("frozen", || {
            let output = self.verb("pause")?;
            let gives_up = output.message().contains("unable to freeze");
            if !gives_up {
                output.success()?;
            }
            Ok(!gives_up)
        })
    }

    /// Waits until a file of the bundle is there and not empty.
    pub(crate) fn wait_for_file(&self, name: &str) -> anyhow::Result<String> {
        let path = self.directory.join(name);
        let text = || fs::read_to_string(&path).unwrap_or_default();
        wait_until(name, || Ok(!text().is_empty()))?;
        Ok(text())
    }

    /// Expects a command to fail with exit code 1, say each of `words`, and leave nothing.
    pub(crate) fn refused(&self, output: &Output, words: &[&str]) -> anyhow::Result<()> {
        output.fails(1, words)?;
        self.nothing_left()
    }

    /// Expects `create` of the config as it is to be refused.
    pub(crate) fn create_refused(&self, words: &[&str]) -> anyhow::Result<()> {
        let output = self.create()?;
        self.refused(&output, words)
    }

    /// Deletes the container by force, and checks that it is gone.
    pub(crate) fn delete_force(&self) -> anyhow::Result<()> {
        self.runtime(&["delete", "--force", &self.id])?.success()?;
        self.nothing_left()
    }

    /// Nothing of the container is left: no state, no cgroup, no mount, no process.
    pub(crate) fn nothing_left(&self) -> anyhow::Result<()> {
        self.traces().none()
    }

    fn traces(&self) -> Traces {
        Traces {
            id: self.id.clone(),
            bundle: self.directory.clone(),
            rootfs: self.rootfs(),
            state: self.root().join(&self.id),
        }
    }

    /// Removes the container and checks that it is gone; sweeps what the runtime left.
    pub(crate) fn finish(&self) -> anyhow::Result<()> {
        let left = self.leave();
        if left.is_err() {
            self.traces().sweep();
        }
        remove_tree(&self.directory).context("the bundle is not removed")?;
        remove_tree(&self.victim).context("the victim is not removed")?;
        left
    }

    /// What the runtime does not know (any more) must be gone before `delete --force`.
    fn leave(&self) -> anyhow::Result<()> {
        if self.verb("state")?.code != 0 {
            self.nothing_left().context("without delete")?;
        }
        self.delete_force()
    }
}
