//! The machines, and the system calls made on them.

use libseccompiler::Architecture;

use crate::interpreter::{Instruction, execute, trace};

/// An architecture as the test knows it, without the help of the code under test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Machine {
    pub architecture: Architecture,
    /// libseccomp's name.
    pub name: &'static str,
    pub audit: u32,
    pub little_endian: bool,
}

pub(crate) const fn machine(architecture: Architecture, name: &'static str, audit: u32) -> Machine {
    Machine { architecture, name, audit, little_endian: audit & 0x4000_0000 != 0 }
}

pub(crate) const X86_64: Machine = machine(Architecture::X86_64, "x86_64", 0xc000_003e);
pub(crate) const X86: Machine = machine(Architecture::X86, "x86", 0x4000_0003);
pub(crate) const X32: Machine = machine(Architecture::X32, "x32", 0xc000_003e);
const AARCH64: Machine = machine(Architecture::Aarch64, "aarch64", 0xc000_00b7);
const ARM: Machine = machine(Architecture::Arm, "arm", 0x4000_0028);
const MIPS: Machine = machine(Architecture::Mips, "mips", 8);
const MIPS64: Machine = machine(Architecture::Mips64, "mips64", 0x8000_0008);
const MIPSEL: Machine = machine(Architecture::Mipsel, "mipsel", 0x4000_0008);
const MIPSEL64: Machine = machine(Architecture::Mipsel64, "mipsel64", 0xc000_0008);
const PPC: Machine = machine(Architecture::Ppc, "ppc", 0x14);
const PPC64: Machine = machine(Architecture::Ppc64, "ppc64", 0x8000_0015);
const PPC64LE: Machine = machine(Architecture::Ppc64le, "ppc64le", 0xc000_0015);
const RISCV64: Machine = machine(Architecture::Riscv64, "riscv64", 0xc000_00f3);
const S390X: Machine = machine(Architecture::S390x, "s390x", 0x8000_0016);
const S390: Machine = machine(Architecture::S390, "s390", 0x16);
const MIPS64N32: Machine = machine(Architecture::Mips64n32, "mips64n32", 0xa000_0008);
const MIPSEL64N32: Machine = machine(Architecture::Mipsel64n32, "mipsel64n32", 0xe000_0008);
const PARISC: Machine = machine(Architecture::Parisc, "parisc", 0xf);
const PARISC64: Machine = machine(Architecture::Parisc64, "parisc64", 0x8000_000f);

pub(crate) const X32_BIT: u32 = 1 << 30;

/// Those that one filter covers together; the first is the machine's own. LoongArch, m68k and SuperH are
/// missing: libseccomp has them since 2.6.
pub(crate) const GROUPS: &[&[Machine]] = &[
    &[X86_64],
    &[X86_64, X86, X32],
    &[X86_64, X32],
    &[X86],
    &[AARCH64, ARM],
    &[ARM],
    &[MIPS64, MIPS, MIPS64N32],
    &[MIPSEL64, MIPSEL, MIPSEL64N32],
    &[PPC64, PPC],
    &[PPC64LE],
    &[RISCV64],
    &[S390X, S390],
    &[S390],
    &[PARISC64, PARISC],
    &[PARISC],
];

/// `struct seccomp_data` (linux/seccomp.h), word by word as a program of the machine sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub number: u32,
    pub audit: u32,
    pub arguments: [u64; 6],
}

impl Call {
    fn words(&self, little_endian: bool) -> [u32; 16] {
        let mut words = [0; 16];
        (words[0], words[1]) = (self.number, self.audit);
        for (at, argument) in self.arguments.iter().enumerate() {
            let (low, high) = (*argument as u32, (*argument >> 32) as u32);
            let pair = if little_endian { [low, high] } else { [high, low] };
            words[4 + 2 * at..6 + 2 * at].copy_from_slice(&pair);
        }
        words
    }
}

/// The return value for a call.
pub(crate) fn run(program: &[Instruction], call: &Call, little_endian: bool) -> u32 {
    execute(program, call.words(little_endian))
}

/// How many instructions a call goes through: for the bench.
#[allow(dead_code)]
pub(crate) fn depth(program: &[Instruction], call: &Call, little_endian: bool) -> usize {
    trace(program, call.words(little_endian)).1
}
