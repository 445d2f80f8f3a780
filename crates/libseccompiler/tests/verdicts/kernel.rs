//! The kernel's own BPF machine: it takes the filters, and decides what the interpreter decides.

use std::fmt::Write as _;

use libseccompiler::{Architecture, Filter};
use serde_json::Value;

use crate::engines;
use crate::helper::Helper;
use crate::interpreter::Instruction;
use crate::machine::{Call, GROUPS, Machine, X32_BIT, X86, X86_64, run};
use crate::oracle::{Oracle, Search};
use crate::profile::{boundaries, instructions, list, try_compiled};
use crate::random::{Random, contradictory_profile, random_profile};

pub(crate) struct Kernel(Helper);

/// `SECCOMP_RET_ERRNO`
const ERRNO: u32 = 0x0005_0000;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;

impl Kernel {
    pub(crate) fn start(name: &str) -> Self {
        Self(Helper::start("kernel.c", &format!("kernel-{name}"), &[]))
    }

    /// The errno with which seccomp(2) refuses the filter; 0 if it takes it.
    pub(crate) fn load(&mut self, filter: &Filter) -> i32 {
        let program = hexadecimal(&instructions(filter));
        self.0.ask(&format!("load {} {program}", filter.flags)).parse().unwrap()
    }

    /// What the programs to be run are asked from now on.
    fn calls(&mut self, calls: &[Call]) {
        let line = calls.iter().fold("calls".to_owned(), |mut line, call| {
            let abi = if call.audit == X86.audit { "int80" } else { "own" };
            write!(line, " {abi} {:x}", call.number).unwrap();
            call.arguments.iter().for_each(|one| write!(line, " {one:x}").unwrap());
            line
        });
        assert_eq!(self.0.ask(&line), calls.len().to_string());
    }

    /// The errno of each call under a program that returns nothing but errors; -1 where there is no answer.
    fn errors(&mut self, program: &[Instruction]) -> Vec<i32> {
        let answer = self.0.ask(&format!("run {}", hexadecimal(program)));
        let mut numbers = answer.split(' ').map(|one| one.parse().expect(&answer));
        assert_eq!(numbers.next(), Some(0), "the filter is refused");
        numbers.collect()
    }
}

fn hexadecimal(program: &[Instruction]) -> String {
    program.iter().fold(String::new(), |mut text, (code, jump_true, jump_false, operand)| {
        let ([a, b], [c, d, e, f]) = (code.to_ne_bytes(), operand.to_ne_bytes());
        for byte in [a, b, *jump_true, *jump_false, c, d, e, f] {
            write!(text, "{byte:02x}").unwrap();
        }
        text
    })
}

/// The program with another errno for each of its return values, and these: so that all can be told apart, and no
/// call is made.
fn only_errors(program: &[Instruction]) -> (Vec<Instruction>, Vec<u32>) {
    let mut verdicts: Vec<u32> = Vec::new();
    let mut label = |one: &Instruction| {
        if one.0 != RETURN {
            return *one;
        }
        let at = verdicts.iter().position(|verdict| *verdict == one.3).unwrap_or_else(|| {
            verdicts.push(one.3);
            verdicts.len() - 1
        });
        (RETURN, 0, 0, ERRNO | u32::try_from(at + 1).unwrap())
    };
    let program = program.iter().map(&mut label).collect();
    (program, verdicts)
}

/// Calls that this machine can make, at random.
fn sample(random: &mut Random, native: &Machine, profile: &Value, count: usize) -> Vec<Call> {
    let boundaries = boundaries(list(profile, "syscalls"));
    // Also where it is a foreign architecture: `int 0x80`, which wants CONFIG_IA32_EMULATION.
    let audits = if *native == X86_64 { vec![native.audit, X86.audit] } else { vec![native.audit] };
    let call = |_| {
        let audit = random.one(&audits);
        let number = match random.below(20) {
            0 => u32::MAX,
            1 => X32_BIT,
            2..5 => u32::try_from(random.below(600)).unwrap() | X32_BIT,
            _ => u32::try_from(random.below(600)).unwrap(),
        };
        // Of x86_64, uretprobe(2) and uprobe(2) are asked of no filter, and kill whom the kernel does not expect.
        let number = if (335..337).contains(&number) { 0 } else { number };
        let narrow = |value: u64| if audit == X86.audit { value & 0xffff_ffff } else { value };
        let arguments = [(); 6].map(|()| narrow(random.one(&boundaries)));
        Call { number, audit, arguments }
    };
    (0..count).map(call).collect()
}

/// Compares the interpreter with the kernel for one program and the kernel's calls. How many verdicts were seen.
fn same(kernel: &mut Kernel, program: &[Instruction], calls: &[Call]) -> usize {
    let (program, verdicts) = only_errors(program);
    let little_endian = cfg!(target_endian = "little");
    let errors = kernel.errors(&program);
    assert_eq!(errors.len(), calls.len());
    for (call, error) in calls.iter().zip(&errors) {
        let ours = run(&program, call, little_endian) ^ ERRNO;
        assert_eq!(i32::try_from(ours), Ok(*error), "{call:x?}: {verdicts:x?}");
    }
    errors.iter().collect::<std::collections::BTreeSet<_>>().len()
}

#[test]
fn the_interpreter_decides_what_the_kernel_does() {
    let native = Architecture::native().unwrap();
    let (mut kernel, mut oracle) = (Kernel::start("machine"), Oracle::start("kernel"));
    let mut random = Random(20_261_128);
    let names: Vec<&str> = syscalls::x86_64::Sysno::iter().map(|call| call.name()).collect();
    let callable = |group: &&&[Machine]| group[0].architecture == native;
    let mut most = 0;
    for group in GROUPS.iter().filter(callable) {
        let engines = engines::profiles(group).into_iter().map(|(_, profile)| profile);
        let plain = (0..10).map(|_| random_profile(&mut Random(random.next()), &names));
        let profiles: Vec<Value> = engines.chain(plain).collect();
        let many = [3, 40, 120, 400].map(|rules| contradictory_profile(&mut random, &names, rules));
        // libseccomp takes no rules that contradict each other.
        for (profile, asked) in
            profiles.iter().map(|one| (one, true)).chain(many.iter().map(|one| (one, false)))
        {
            let Ok(filter) = try_compiled(profile, group) else { continue };
            let calls = sample(&mut random, &group[0], profile, 2000);
            kernel.calls(&calls);
            most = most.max(same(&mut kernel, &instructions(&filter), &calls));
            if asked {
                let known = oracle.known(profile, group);
                for search in [Search::Linear, Search::Tree] {
                    same(&mut kernel, &oracle.compile(&known, group, search), &calls);
                }
            }
        }
    }
    assert!(most > 6, "{most}");
}

#[test]
fn what_is_no_program_is_refused_by_the_kernel() {
    const EINVAL: &str = "22";
    // So that `load` can tell: a jump behind the end, and no return at the end.
    let mut kernel = Kernel::start("refused");
    let allow = 0x7fff_0000;
    let mut load =
        |program: &[Instruction]| kernel.0.ask(&format!("load 0 {}", hexadecimal(program)));
    assert_eq!(load(&[(RETURN, 0, 0, allow)]), "0");
    assert_eq!(load(&[(0x15, 1, 0, 0), (RETURN, 0, 0, allow)]), EINVAL);
    assert_eq!(load(&[(0x20, 0, 0, 0)]), EINVAL);
    assert_eq!(load(&vec![(RETURN, 0, 0, allow); 4097]), EINVAL);
}
