//! Our compiler and its filter for Docker's default profile, beside libseccomp's, linear and as a tree:
//! hack/bench-seccomp.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(missing_docs, dead_code)]

#[path = "../tests/verdicts/engines.rs"]
mod engines;
#[path = "../tests/verdicts/helper.rs"]
mod helper;
#[path = "../tests/verdicts/interpreter.rs"]
mod interpreter;
#[path = "../tests/verdicts/machine.rs"]
mod machine;
#[path = "../tests/verdicts/oracle.rs"]
mod oracle;
#[path = "../tests/verdicts/profile.rs"]
mod profile;

use std::process::ExitCode;
use std::time::Instant;

use libseccompiler::{Architecture, compile};
use oci_spec::runtime::LinuxSeccomp;

use interpreter::Instruction;
use machine::{Call, GROUPS, Machine, depth};
use oracle::{Oracle, Search};
use profile::{instructions, with_architectures};

/// What programs call most: files, memory, locks, and waiting for the network.
const COMMON: [&str; 10] = [
    "read",
    "write",
    "close",
    "openat",
    "fstat",
    "mmap",
    "lseek",
    "futex",
    "epoll_pwait",
    "recvfrom",
];

/// Rounds, in each of which every subject compiles the profile: ours a number of times, as it is quick.
const ROUNDS: usize = 40;
const OURS_IN_A_ROUND: usize = 20;

/// A compiler, and what came of it.
struct Subject {
    name: &'static str,
    /// Milliseconds, sorted.
    times: Vec<f64>,
    program: Vec<Instruction>,
    /// How many instructions each of the common calls goes through.
    depths: Vec<usize>,
}

impl Subject {
    fn median(&self) -> f64 {
        self.quantile(50)
    }

    fn quantile(&self, percent: usize) -> f64 {
        self.times[(self.times.len() - 1) * percent / 100]
    }

    fn mean_depth(&self) -> f64 {
        self.depths.iter().sum::<usize>() as f64 / self.depths.len() as f64
    }
}

fn main() -> ExitCode {
    let checks = std::env::args().any(|argument| argument == "--check");
    let native = Architecture::native().unwrap();
    // The machine's own, and all that Docker lists beside it.
    let own = GROUPS.iter().filter(|group| group[0].architecture == native);
    let group = own.max_by_key(|group| group.len()).expect("libseccomp knows this machine");
    let subjects = measure(group);
    print_figures(group, &subjects);
    if check(&subjects) || !checks { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// aril first, then libseccomp as it is by itself, and as a tree.
fn measure(group: &[Machine]) -> [Subject; 3] {
    let mut oracle = Oracle::start("bench");
    let given = oracle.known(&engines::docker(), group);
    let profile: LinuxSeccomp = serde_json::from_value(with_architectures(&given, group)).unwrap();
    let subject = |name, program: Vec<Instruction>| Subject {
        name,
        times: Vec::new(),
        depths: Vec::new(),
        program,
    };
    let filter = compile(&profile, group[0].architecture).unwrap();
    let mut subjects = [
        subject("aril", instructions(&filter)),
        subject("libseccomp", oracle.compile(&given, group, Search::Linear)),
        subject("libseccomp, tree", oracle.compile(&given, group, Search::Tree)),
    ];
    for _ in 0..ROUNDS {
        for _ in 0..OURS_IN_A_ROUND {
            let before = Instant::now();
            let filter = compile(std::hint::black_box(&profile), group[0].architecture);
            let time = before.elapsed();
            drop(std::hint::black_box(filter));
            subjects[0].times.push(time.as_secs_f64() * 1e3);
        }
        for (subject, search) in subjects[1..].iter_mut().zip([Search::Linear, Search::Tree]) {
            oracle.compile(&given, group, search);
            subject.times.extend(oracle.times(2).into_iter().map(|time| time as f64 / 1e6));
        }
    }
    for subject in &mut subjects {
        subject.times.sort_by(f64::total_cmp);
        let reached = |name: &&str| {
            let number = u32::try_from(oracle.number(group[0].name, name)).unwrap();
            let call = Call { number, audit: group[0].audit, arguments: [0; 6] };
            depth(&subject.program, &call, group[0].little_endian)
        };
        subject.depths = COMMON.iter().map(reached).collect();
    }
    subjects
}

fn print_figures(group: &[Machine], subjects: &[Subject]) {
    let names: Vec<&str> = group.iter().map(|machine| machine.name).collect();
    println!("Docker's default profile for {}\n", names.join(", "));
    println!(
        "{:<18}{:>26}{:>14}{:>22}",
        "", "ms, median (10%..90%)", "instructions", "executed (mean, most)"
    );
    for one in subjects {
        let time =
            format!("{:.3} ({:.3}..{:.3})", one.median(), one.quantile(10), one.quantile(90));
        let executed =
            format!("{:.1} {:>4}", one.mean_depth(), one.depths.iter().max().unwrap_or(&0));
        println!("{:<18}{time:>26}{:>14}{executed:>22}", one.name, one.program.len());
    }
    println!("\nexecuted: by {}\n", COMMON.join(", "));
}

/// Prints each limit. True if all hold.
fn check([ours, linear, tree]: &[Subject; 3]) -> bool {
    let length = |one: &Subject| one.program.len() as f64;
    let limits = [
        ("time, milliseconds", ours.median(), 0.3),
        ("time, of libseccomp's", ours.median() / linear.median(), 1.0 / 30.0),
        ("time, of the tree's", ours.median() / tree.median(), 1.0 / 30.0),
        ("instructions, of libseccomp's", length(ours) / length(linear), 0.5),
        ("instructions, of the tree's", length(ours) / length(tree), 0.5),
        ("executed, of libseccomp's", ours.mean_depth() / linear.mean_depth(), 1.0 / 3.0),
    ];
    for (what, measured, limit) in limits {
        let verdict = if measured <= limit { "ok" } else { "TOO MUCH" };
        println!("{what:<32}{measured:>8.3}  at most {limit:.3}  {verdict}");
    }
    println!("{:<32}{:>8.3}", "executed, of the tree's", ours.mean_depth() / tree.mean_depth());
    limits.iter().all(|(_, measured, limit)| measured <= limit)
}
