//! The numbers of named system calls.
//!
//! The tables are those of the `syscalls` crate, turned into hash tables when this crate is
//! compiled: the crate's own search compares a name with all others in turn. What it does not have
//! is in `numbers.txt`.

use crate::architecture::Architecture;
use crate::numbers::{self, Column};

/// A system call's name, hashed once for all architectures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub text: &'a str,
    hash: u32,
}

impl<'a> Name<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, hash: hash(text.as_bytes()) }
    }

    fn is(self, other: Name<'_>) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

/// FNV-1a, folded so that its low bits depend on all of it.
const fn hash(text: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut rest = text;
    while let [first, others @ ..] = rest {
        hash = (hash ^ *first as u32).wrapping_mul(0x0100_0193);
        rest = others;
    }
    hash ^ hash >> 15
}

/// A power of two, more than twice the names of any table.
pub(crate) const SLOTS: usize = 1024;
/// A slot that is not in use.
pub(crate) const VACANT: u16 = u16::MAX;

/// A table by names: the system calls of one architecture.
pub(crate) struct Table {
    /// Numbers, each in the first vacant slot from its name's hash on.
    pub slots: [u16; SLOTS],
    /// The name of a number.
    pub name: fn(u16) -> Option<&'static str>,
}

impl Table {
    pub(crate) fn number(&self, name: Name<'_>) -> Option<u32> {
        let mut slot = name.hash as usize % SLOTS;
        while self.slots[slot] != VACANT {
            if (self.name)(self.slots[slot]) == Some(name.text) {
                return Some(self.slots[slot].into());
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }
}

/// The name as the kernel spells it: `stringify!` keeps the mark of a raw identifier, of which
/// there is one, break(2).
const fn plain(name: &'static str) -> &'static str {
    match name.as_bytes() {
        b"r#break" => "break",
        _ => name,
    }
}

pub(crate) const fn insert(slots: &mut [u16; SLOTS], name: &[u8], number: u16) {
    let mut slot = hash(name) as usize % SLOTS;
    while slots[slot] != VACANT {
        slot = (slot + 1) % SLOTS;
    }
    slots[slot] = number;
}

macro_rules! table {
    ($table:ident, $module:ident) => {
        static $table: Table = {
            use syscalls::$module::Sysno;

            let mut slots = [VACANT; SLOTS];
            let mut number = Sysno::first().id() as u16;
            while number <= Sysno::last().id() as u16 {
                if let Some(call) = Sysno::new(number as usize) {
                    insert(&mut slots, plain(call.name()).as_bytes(), number);
                }
                number += 1;
            }
            Table { slots, name: |number| Sysno::new(number.into()).map(|call| plain(call.name())) }
        };
    };
}

table!(X86, x86);
table!(X86_64, x86_64);
table!(ARM, arm);
table!(AARCH64, aarch64);
table!(MIPS, mips);
table!(MIPS64, mips64);
table!(PPC, powerpc);
table!(PPC64, powerpc64);
table!(RISCV64, riscv64);
table!(S390X, s390x);
table!(LOONGARCH64, loongarch64);

/// The number of `name` on `architecture`, as the kernel reports it; for x32 with bit 30.
pub(crate) fn number(architecture: Architecture, name: Name<'_>) -> Option<u32> {
    in_table(architecture, name).or_else(|| missing(architecture, name.text))
}

/// What the tables of the `syscalls` crate lack, or call by a name that the kernel does not use, and what
/// `numbers.txt` is too old for.
fn missing(architecture: Architecture, name: &str) -> Option<u32> {
    match (architecture, name) {
        (Architecture::Aarch64, "newfstatat") => Some(79),
        (Architecture::Mips64 | Architecture::Mipsel64, "set_mempolicy_home_node") => Some(5450),
        (Architecture::S390, "memfd_secret") => Some(447),
        (Architecture::Parisc | Architecture::Parisc64, "cacheflush") => Some(356),
        _ => None,
    }
}

fn in_table(architecture: Architecture, name: Name<'_>) -> Option<u32> {
    match architecture {
        Architecture::X86 => X86.number(name),
        Architecture::X86_64 => X86_64.number(name),
        Architecture::X32 => x32(name),
        Architecture::Arm => arm_private(name.text).or_else(|| ARM.number(name)),
        Architecture::Aarch64 => AARCH64.number(name).filter(is_of_64_bits),
        Architecture::Mips | Architecture::Mipsel => MIPS.number(name),
        Architecture::Mips64 | Architecture::Mipsel64 => MIPS64.number(name),
        Architecture::Ppc => PPC.number(name),
        Architecture::Ppc64 | Architecture::Ppc64le => PPC64.number(name),
        Architecture::Riscv64 => RISCV64.number(name),
        Architecture::S390x => S390X.number(name),
        Architecture::S390 => recorded(name, Column::S390),
        Architecture::Mips64n32 | Architecture::Mipsel64n32 => recorded(name, Column::Mips64n32),
        Architecture::Parisc => recorded(name, Column::Parisc),
        Architecture::Parisc64 => recorded(name, Column::Parisc64),
        Architecture::M68k => recorded(name, Column::M68k),
        Architecture::Sh | Architecture::Sheb => recorded(name, Column::Sh),
        Architecture::Loongarch64 => LOONGARCH64.number(name).filter(is_of_64_bits),
    }
}

/// The newest number in `numbers.txt`, which is of Linux 6.1. Those that came later are the same on all architectures, but
/// for the offset of MIPS (scripts/syscall.tbl of the kernel).
const NEWEST_RECORDED: u32 = 450;

fn recorded(name: Name<'_>, column: Column) -> Option<u32> {
    let offset = if column == Column::Mips64n32 { 6000 } else { 0 };
    let newer = || S390X.number(name).filter(|number| *number > NEWEST_RECORDED);
    numbers::number(name, column).or_else(|| newer().map(|number| number + offset))
}

/// Whether asm-generic/unistd.h has the number where `__BITS_PER_LONG` is 64: the calls with 64-bit
/// times are only for 32-bit architectures, and two tables have them all the same.
fn is_of_64_bits(number: &u32) -> bool {
    !(403..=423).contains(number)
}

/// The system calls of 32-bit ARM outside its table: arch/arm/include/uapi/asm/unistd.h.
fn arm_private(name: &str) -> Option<u32> {
    let offset = match name {
        "breakpoint" => 1,
        "cacheflush" => 2,
        "usr26" => 3,
        "usr32" => 4,
        "set_tls" => 5,
        _ => return None,
    };
    Some(0x000f_0000 + offset)
}

/// Set in the number of every x32 system call: `__X32_SYSCALL_BIT` of asm/unistd.h.
pub(crate) const X32_BIT: u32 = 1 << 30;

/// x32 has the numbers of x86_64, except where arch/x86/entry/syscalls/syscall_64.tbl marks a
/// line `x32` or `64`.
fn x32(name: Name<'_>) -> Option<u32> {
    let own = X32_ONLY.iter().find(|(other, _)| other.is(name)).map(|(_, number)| *number);
    let shared = || X86_64.number(name).filter(|_| !X86_64_ONLY.iter().any(|other| other.is(name)));
    let number = own.or_else(shared)?;
    Some(X32_BIT | number)
}

/// System calls that handle pointers or longs in memory: x32 has its own entry points.
static X32_ONLY: &[(Name<'_>, u32)] = &[
    (Name::new("rt_sigaction"), 512),
    (Name::new("rt_sigreturn"), 513),
    (Name::new("ioctl"), 514),
    (Name::new("readv"), 515),
    (Name::new("writev"), 516),
    (Name::new("recvfrom"), 517),
    (Name::new("sendmsg"), 518),
    (Name::new("recvmsg"), 519),
    (Name::new("execve"), 520),
    (Name::new("ptrace"), 521),
    (Name::new("rt_sigpending"), 522),
    (Name::new("rt_sigtimedwait"), 523),
    (Name::new("rt_sigqueueinfo"), 524),
    (Name::new("sigaltstack"), 525),
    (Name::new("timer_create"), 526),
    (Name::new("mq_notify"), 527),
    (Name::new("kexec_load"), 528),
    (Name::new("waitid"), 529),
    (Name::new("set_robust_list"), 530),
    (Name::new("get_robust_list"), 531),
    (Name::new("vmsplice"), 532),
    (Name::new("move_pages"), 533),
    (Name::new("preadv"), 534),
    (Name::new("pwritev"), 535),
    (Name::new("rt_tgsigqueueinfo"), 536),
    (Name::new("recvmmsg"), 537),
    (Name::new("sendmmsg"), 538),
    (Name::new("process_vm_readv"), 539),
    (Name::new("process_vm_writev"), 540),
    (Name::new("setsockopt"), 541),
    (Name::new("getsockopt"), 542),
    (Name::new("io_setup"), 543),
    (Name::new("io_submit"), 544),
    (Name::new("execveat"), 545),
    (Name::new("preadv2"), 546),
    (Name::new("pwritev2"), 547),
];

/// System calls of x86_64 that x32 does not have.
static X86_64_ONLY: &[Name<'_>] = &[
    Name::new("uselib"),
    Name::new("_sysctl"),
    Name::new("create_module"),
    Name::new("get_kernel_syms"),
    Name::new("query_module"),
    Name::new("nfsservctl"),
    Name::new("set_thread_area"),
    Name::new("get_thread_area"),
    Name::new("epoll_ctl_old"),
    Name::new("epoll_wait_old"),
    Name::new("vserver"),
    Name::new("map_shadow_stack"),
    Name::new("uretprobe"),
    Name::new("uprobe"),
];

/// The multiplexer of a system call, and the call's number there: `SYS_*` of linux/net.h for
/// socketcall(2), and linux/ipc.h for ipc(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Multiplexed {
    Socketcall(u32),
    Ipc(u32),
}

/// How `name` is reached through a multiplexer.
pub(crate) fn multiplexed(name: &str) -> Option<Multiplexed> {
    let call = match name {
        "socket" => Multiplexed::Socketcall(1),
        "bind" => Multiplexed::Socketcall(2),
        "connect" => Multiplexed::Socketcall(3),
        "listen" => Multiplexed::Socketcall(4),
        "accept" => Multiplexed::Socketcall(5),
        "getsockname" => Multiplexed::Socketcall(6),
        "getpeername" => Multiplexed::Socketcall(7),
        "socketpair" => Multiplexed::Socketcall(8),
        "send" => Multiplexed::Socketcall(9),
        "recv" => Multiplexed::Socketcall(10),
        "sendto" => Multiplexed::Socketcall(11),
        "recvfrom" => Multiplexed::Socketcall(12),
        "shutdown" => Multiplexed::Socketcall(13),
        "setsockopt" => Multiplexed::Socketcall(14),
        "getsockopt" => Multiplexed::Socketcall(15),
        "sendmsg" => Multiplexed::Socketcall(16),
        "recvmsg" => Multiplexed::Socketcall(17),
        "accept4" => Multiplexed::Socketcall(18),
        "recvmmsg" => Multiplexed::Socketcall(19),
        "sendmmsg" => Multiplexed::Socketcall(20),
        "semop" => Multiplexed::Ipc(1),
        "semget" => Multiplexed::Ipc(2),
        "semctl" => Multiplexed::Ipc(3),
        "semtimedop" => Multiplexed::Ipc(4),
        "msgsnd" => Multiplexed::Ipc(11),
        "msgrcv" => Multiplexed::Ipc(12),
        "msgget" => Multiplexed::Ipc(13),
        "msgctl" => Multiplexed::Ipc(14),
        "shmat" => Multiplexed::Ipc(21),
        "shmdt" => Multiplexed::Ipc(22),
        "shmget" => Multiplexed::Ipc(23),
        "shmctl" => Multiplexed::Ipc(24),
        _ => return None,
    };
    Some(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(architecture: Architecture, name: &str) -> Option<u32> {
        number(architecture, Name::new(name))
    }

    #[test]
    fn numbers_are_those_of_the_architecture() {
        assert_eq!(on(Architecture::X86_64, "read"), Some(0));
        assert_eq!(on(Architecture::X86, "read"), Some(3));
        assert_eq!(on(Architecture::Aarch64, "read"), Some(63));
        assert_eq!(on(Architecture::Mips, "read"), Some(4003));
        assert_eq!(on(Architecture::Mipsel64, "read"), Some(5000));
        assert_eq!(on(Architecture::X86, "break"), Some(17));
        assert_eq!(on(Architecture::X86, "r#break"), None);
        assert_eq!(on(Architecture::Arm, "set_tls"), Some(0xf0005));
        assert_eq!(on(Architecture::Aarch64, "open"), None);
        assert_eq!(on(Architecture::Mipsel64n32, "read"), Some(6000));
        assert_eq!(on(Architecture::Parisc, "mseal"), Some(462));
        assert_eq!(on(Architecture::Mips64n32, "mseal"), Some(6462));
        for &architecture in Architecture::ALL {
            assert_eq!(on(architecture, "no_such_call"), None);
            assert_eq!(on(architecture, ""), None);
        }
    }

    #[test]
    fn x32_shares_most_numbers_with_x86_64() {
        assert_eq!(on(Architecture::X32, "write"), Some(X32_BIT | 1));
        assert_eq!(on(Architecture::X32, "ioctl"), Some(X32_BIT | 514));
        assert_eq!(on(Architecture::X32, "uselib"), None);
    }

    #[test]
    fn every_name_of_a_table_is_found() {
        for number in 0..=u16::MAX {
            if let Some(name) = (PPC.name)(number) {
                assert_eq!(PPC.number(Name::new(name)), Some(number.into()), "{name}");
            }
        }
    }
}
