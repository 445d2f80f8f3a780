//! The command line: runc's, with what other callers pass too.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

/// OCI container runtime.
#[derive(Debug, Parser)]
#[command(name = "aril", disable_version_flag = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    /// Show the version.
    #[arg(long, short)]
    pub version: bool,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags before the command.
#[derive(Debug, Args)]
pub(crate) struct Globals {
    /// Directory of the containers' state [default: /run/aril, or $XDG_RUNTIME_DIR/aril].
    #[arg(long)]
    pub root: Option<PathBuf>,
    /// File to which errors are appended; or journald:ID, syslog:NAME.
    #[arg(long)]
    pub log: Option<PathBuf>,
    /// Format of the log.
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// Log warnings too.
    #[arg(long)]
    pub debug: bool,
    /// How much is logged (crun's flag; `debug` and `warning` are --debug).
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Have systemd manage cgroups: linux.cgroupsPath is SLICE:PREFIX:NAME.
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Who manages cgroups, `cgroupfs`, `systemd` or `disabled` (crun's flag).
    #[arg(long, value_name = "MANAGER")]
    pub cgroup_manager: Option<String>,
    /// Whether failures to change cgroups are ignored: true, false or auto.
    #[arg(long, default_value = "auto", value_name = "BOOL")]
    pub rootless: String,
    /// Accepted and ignored: criu is found through PATH.
    #[arg(long, hide = true)]
    pub criu: Option<PathBuf>,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The commands. The flags of one are built when it is the one that is called: those of all are most of what a command
/// line costs.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Create a container, whose program waits for start.
    Create(Create),
    /// Run the program of a created container.
    Start(Id),
    /// Show the state of a container.
    State(Id),
    /// Send a signal to a container's first process.
    Kill(Kill),
    /// Wait until a container's first process has ended, and print its exit code (aril's command).
    Wait(Id),
    /// Remove a container.
    Delete(Delete),
    /// Create and start a container, wait for it and remove it.
    Run(Run),
    /// Run another process in a container.
    Exec(Box<Exec>),
    /// List the containers.
    List(List),
    /// List the processes of a container.
    Ps(Ps),
    /// Stop all processes of a container where they are.
    Pause(Id),
    /// Let a paused container go on.
    Resume(Id),
    /// Change the limits of a container.
    Update(Box<Update>),
    /// Write a config.json to start from.
    Spec(Spec),
    /// Show what this runtime can do, as JSON.
    Features,
}

/// A container's id.
#[derive(Debug, Args)]
pub(crate) struct Id {
    /// The container's id.
    pub id: String,
}

/// Flags of create and run.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The container's id.
    pub id: String,
    /// The bundle's directory.
    #[arg(long, short, default_value = ".")]
    pub bundle: PathBuf,
    /// Unix socket that is sent the terminal's master.
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// Unix socket that is sent the pidfd.
    #[arg(long)]
    pub pidfd_socket: Option<PathBuf>,
    /// File to write the pid to.
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// Change the root without pivot_root.
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass this many more file descriptors, from 3 on, to the program.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    pub preserve_fds: u32,
}

/// kill.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// The container's id.
    pub id: String,
    /// The signal, by name or number; else the one that the image says, else SIGTERM.
    #[arg(default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    pub signal: String,
    /// Send it to all processes of the container.
    #[arg(long, short)]
    pub all: bool,
    /// Return when the first process has ended (aril's flag).
    #[arg(long)]
    pub wait: bool,
    /// With --wait: fail if that takes longer.
    #[arg(long, value_name = "SECONDS", requires = "wait", allow_hyphen_values = true)]
    pub timeout: Option<u64>,
}

/// delete.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The container's id.
    pub id: String,
    /// Kill it first; an unknown id is no error.
    #[arg(long, short)]
    pub force: bool,
}

/// run.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub create: Create,
    /// Return as soon as the program runs.
    #[arg(long, short)]
    pub detach: bool,
    /// Keep the container when the program has ended.
    #[arg(long)]
    pub keep: bool,
    /// Do not become the parent of orphaned processes.
    #[arg(long)]
    pub no_subreaper: bool,
}

/// exec.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The container's id, then the program and its arguments.
    #[arg(required = true, value_names = ["ID", "PROGRAM"], num_args = 1.., trailing_var_arg = true)]
    pub id_and_args: Vec<String>,
    /// Unix socket that is sent the terminal's master.
    #[arg(long)]
    pub console_socket: Option<PathBuf>,
    /// Unix socket that is sent the pidfd.
    #[arg(long)]
    pub pidfd_socket: Option<PathBuf>,
    /// Working directory in the container.
    #[arg(long)]
    pub cwd: Option<String>,
    /// Environment variable, NAME=VALUE.
    #[arg(long, short)]
    pub env: Vec<String>,
    /// Give the process a terminal.
    #[arg(long, short)]
    pub tty: bool,
    /// User, UID or UID:GID.
    #[arg(long, short, value_parser = parse_user, allow_hyphen_values = true)]
    pub user: Option<(u32, Option<u32>)>,
    /// More group ids.
    #[arg(long, short = 'g', allow_hyphen_values = true)]
    pub additional_gids: Vec<u32>,
    /// File with the whole process as JSON.
    #[arg(long, short)]
    pub process: Option<PathBuf>,
    /// Return as soon as the process runs.
    #[arg(long, short)]
    pub detach: bool,
    /// File to write the pid to.
    #[arg(long)]
    pub pid_file: Option<PathBuf>,
    /// SELinux label.
    #[arg(long)]
    pub process_label: Option<String>,
    /// AppArmor profile.
    #[arg(long)]
    pub apparmor: Option<String>,
    /// Set no_new_privs.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_new_privs: Option<bool>,
    /// Add a capability.
    #[arg(long, short)]
    pub cap: Vec<String>,
    /// Pass this many more file descriptors, from 3 on, to the process.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    pub preserve_fds: u32,
    /// Sub-cgroup of the container's, PATH, or in some v1 hierarchies CONTROLLER[,CONTROLLER]:PATH.
    #[arg(long)]
    pub cgroup: Vec<String>,
    /// Also in a paused container.
    #[arg(long)]
    pub ignore_paused: bool,
}

/// list.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// table or json.
    #[arg(long, short, default_value = "table")]
    pub format: String,
    /// Show ids only.
    #[arg(long, short)]
    pub quiet: bool,
}

/// ps.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// The container's id, then options of ps(1) [default: -ef].
    #[arg(required = true, value_names = ["ID", "OPTION"], num_args = 1.., trailing_var_arg = true)]
    pub id_and_options: Vec<String>,
    /// table or json.
    #[arg(long, short, default_value = "table")]
    pub format: String,
}

/// update. What no flag names stays as it is.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The container's id.
    pub id: String,
    /// File with the limits as JSON, as in linux.resources, or - for standard input; the other flags are
    /// ignored then.
    #[arg(long, short, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    #[command(flatten)]
    pub memory: MemoryFlags,
    #[command(flatten)]
    pub cpu: CpuFlags,
    /// Weight of block I/O, 10 to 1000.
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    /// How many processes there may be; -1 for any number.
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Shares of the L3 cache for the container's class of service, as in linux.intelRdt.l3CacheSchema.
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// Its shares of the memory bandwidth, as in linux.intelRdt.memBwSchema.
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
}

/// Sizes in bytes, or with a suffix such as M; -1 for no limit.
#[derive(Debug, Args)]
pub(crate) struct MemoryFlags {
    /// Memory.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = parse_size)]
    pub memory: Option<i64>,
    /// What is left to it when memory is short.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = parse_size)]
    pub memory_reservation: Option<i64>,
    /// Memory and swap together.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = parse_size)]
    pub memory_swap: Option<i64>,
    /// Accepted and ignored: kernels have lost this limit.
    #[arg(long, hide = true)]
    pub kernel_memory: Option<String>,
    /// The same.
    #[arg(long, hide = true)]
    pub kernel_memory_tcp: Option<String>,
}

/// Times in microseconds.
#[derive(Debug, Args)]
pub(crate) struct CpuFlags {
    /// Period of the quota.
    #[arg(long, value_name = "TIME")]
    pub cpu_period: Option<u64>,
    /// Time in each period; -1 for no limit.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// Time that may be saved for later periods.
    #[arg(long, value_name = "TIME")]
    pub cpu_burst: Option<u64>,
    /// Weight against others, normally 1024.
    #[arg(long, value_name = "SHARES")]
    pub cpu_share: Option<u64>,
    /// Period of the realtime runtime.
    #[arg(long, value_name = "TIME")]
    pub cpu_rt_period: Option<u64>,
    /// Realtime in each period.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// CPUs to use, such as 0-1,4.
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use.
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// 1 to run only when nothing else does.
    #[arg(long, value_name = "0|1", allow_hyphen_values = true)]
    pub cpu_idle: Option<i64>,
}

/// spec.
#[derive(Debug, Args)]
pub(crate) struct Spec {
    /// Directory to write config.json to.
    #[arg(long, short)]
    pub bundle: Option<PathBuf>,
    /// For a user without privilege.
    #[arg(long)]
    pub rootless: bool,
}

/// Parses a command line; flags with one dash, as Go's parser takes them, are taken too.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(arguments.iter().map(two_dashes))
}

/// The global flags of a command line that is wrong elsewhere.
pub(crate) fn globals(arguments: &[OsString]) -> Option<Globals> {
    let command = Cli::command().ignore_errors(true);
    Globals::from_arg_matches(&command.try_get_matches_from(arguments).ok()?).ok()
}

/// `-no-subreaper`, which go-runc writes.
fn two_dashes(argument: &OsString) -> OsString {
    match argument.to_str() {
        Some("-no-subreaper") => OsString::from("--no-subreaper"),
        _ => argument.clone(),
    }
}

/// `UID` or `UID:GID`, digits only: whatever else is an error, never root (CVE-2026-30892).
fn parse_user(text: &str) -> Result<(u32, Option<u32>), String> {
    let id = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && *number != u32::MAX);
        number.ok_or_else(|| format!("{text:?} is no id: write a number from 0 to 4294967294"))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
        None => Ok((id(text)?, None)),
    }
}

/// A size as Docker writes it: a number, maybe with a fraction, and maybe B, K, M, G, T or P, each 1024 times the one
/// before, with B or iB behind it.
fn parse_size(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no size: write a number of bytes, such as 512M, or -1");
    if text == "-1" {
        return Ok(-1);
    }
    let end = text.find(|one: char| !one.is_ascii_digit() && one != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.to_ascii_lowercase();
    let letter = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == letter);
    let factor = 1024_i64.pow(power.ok_or_else(wrong)? as u32);
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    // Up to there every whole number is one of these.
    if bytes < 2_f64.powi(53) { Ok(bytes as i64) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory as _;

    use super::{Cli, Command, parse, parse_size, parse_user};

    fn command(line: &str) -> Command {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        parse(&arguments).unwrap().command.unwrap()
    }

    #[test]
    fn the_table_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn users_are_numbers_or_errors() {
        assert_eq!(parse_user("1000").unwrap(), (1000, None));
        assert_eq!(parse_user("1:2").unwrap(), (1, Some(2)));
        for wrong in ["", "x", "1000x", "-1", "+1", "4294967295", "4294967296", "1:", ":1", "1:2:3"]
        {
            assert!(parse_user(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("1", 1),
            ("-1", -1),
            ("64m", 64 << 20),
            ("64MB", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("7b", 7),
            ("2K", 2048),
            ("1t", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "m", "-2", "1x", "1.2.3", "1mm", "9999999999999p", "99999999999.5g", "+1"]
        {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_engines_pass() {
        let line = "aril --root /r --log /l --log-format json create --bundle /b --pid-file /p id";
        assert!(matches!(command(line), Command::Create(create) if create.id == "id"));
        let line = "runc --log=/l --log-format=json --rootless=true --criu /c kill --all id 9";
        assert!(matches!(command(line), Command::Kill(kill) if kill.all && kill.signal == "9"));
        for line in
            ["aril update --resources - id", "aril update --resources=- id", "aril update -r - id"]
        {
            let from_standard_input = |update: &super::Update| {
                update.id == "id" && update.resources.as_deref() == Some("-".as_ref())
            };
            assert!(
                matches!(command(line), Command::Update(update) if from_standard_input(&update))
            );
        }
        let line = "aril exec --detach --no-new-privs id sh -c x";
        assert!(
            matches!(command(line), Command::Exec(exec) if exec.id_and_args == ["id", "sh", "-c", "x"]
            && exec.no_new_privs == Some(true))
        );
        assert!(
            matches!(command("aril run -no-subreaper id"), Command::Run(run) if run.no_subreaper)
        );
    }
}
