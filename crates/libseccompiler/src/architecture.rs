//! The architectures that filters are compiled for, and what differs between them.

use oci_spec::runtime::Arch;

use crate::graph::{ARGUMENTS, Word};

/// An architecture whose system calls a filter can name: one of the spec's `SCMP_ARCH_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// 32-bit x86.
    X86,
    /// 64-bit x86.
    X86_64,
    /// 64-bit x86 with 32-bit pointers: system calls with bit 30 set.
    X32,
    /// 32-bit ARM, EABI.
    Arm,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit MIPS (o32), big-endian.
    Mips,
    /// 64-bit MIPS (n64), big-endian.
    Mips64,
    /// 32-bit MIPS (o32), little-endian.
    Mipsel,
    /// 64-bit MIPS (n64), little-endian.
    Mipsel64,
    /// 32-bit PowerPC, big-endian.
    Ppc,
    /// 64-bit PowerPC, big-endian.
    Ppc64,
    /// 64-bit PowerPC, little-endian.
    Ppc64le,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit IBM Z.
    S390x,
    /// 64-bit LoongArch.
    Loongarch64,
    /// 32-bit IBM Z (31-bit addresses).
    S390,
    /// 64-bit MIPS with 32-bit pointers (n32), big-endian.
    Mips64n32,
    /// 64-bit MIPS with 32-bit pointers (n32), little-endian.
    Mipsel64n32,
    /// 32-bit PA-RISC.
    Parisc,
    /// 64-bit PA-RISC.
    Parisc64,
    /// Motorola 68000.
    M68k,
    /// SuperH, little-endian.
    Sh,
    /// SuperH, big-endian.
    Sheb,
}

/// The numbers of the system calls through which an architecture multiplexes others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Multiplexers {
    /// socketcall(2)
    pub socketcall: u32,
    /// ipc(2)
    pub ipc: u32,
}

/// Where an argument is in `struct seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArgumentWords {
    pub low: Word,
    /// `None` where only the low half counts.
    pub high: Option<Word>,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: &[Self] = &[
        Self::X86,
        Self::X86_64,
        Self::X32,
        Self::Arm,
        Self::Aarch64,
        Self::Mips,
        Self::Mips64,
        Self::Mipsel,
        Self::Mipsel64,
        Self::Ppc,
        Self::Ppc64,
        Self::Ppc64le,
        Self::Riscv64,
        Self::S390x,
        Self::Loongarch64,
        Self::S390,
        Self::Mips64n32,
        Self::Mipsel64n32,
        Self::Parisc,
        Self::Parisc64,
        Self::M68k,
        Self::Sh,
        Self::Sheb,
    ];

    /// The architecture that this program was built for, if filters can be compiled for it.
    #[must_use]
    pub const fn native() -> Option<Self> {
        let little = cfg!(target_endian = "little");
        let architecture = match std::env::consts::ARCH.as_bytes() {
            b"x86" => Self::X86,
            b"x86_64" if cfg!(target_pointer_width = "32") => Self::X32,
            b"x86_64" => Self::X86_64,
            b"arm" => Self::Arm,
            b"aarch64" => Self::Aarch64,
            b"mips" if little => Self::Mipsel,
            b"mips" => Self::Mips,
            b"mips64" if little => Self::Mipsel64,
            b"mips64" => Self::Mips64,
            b"powerpc" => Self::Ppc,
            b"powerpc64" if little => Self::Ppc64le,
            b"powerpc64" => Self::Ppc64,
            b"riscv64" => Self::Riscv64,
            b"s390x" => Self::S390x,
            b"loongarch64" => Self::Loongarch64,
            b"m68k" => Self::M68k,
            _ => return None,
        };
        Some(architecture)
    }

    /// The spec's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86 => "SCMP_ARCH_X86",
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Arm => "SCMP_ARCH_ARM",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Mips => "SCMP_ARCH_MIPS",
            Self::Mips64 => "SCMP_ARCH_MIPS64",
            Self::Mipsel => "SCMP_ARCH_MIPSEL",
            Self::Mipsel64 => "SCMP_ARCH_MIPSEL64",
            Self::Ppc => "SCMP_ARCH_PPC",
            Self::Ppc64 => "SCMP_ARCH_PPC64",
            Self::Ppc64le => "SCMP_ARCH_PPC64LE",
            Self::Riscv64 => "SCMP_ARCH_RISCV64",
            Self::S390x => "SCMP_ARCH_S390X",
            Self::Loongarch64 => "SCMP_ARCH_LOONGARCH64",
            Self::S390 => "SCMP_ARCH_S390",
            Self::Mips64n32 => "SCMP_ARCH_MIPS64N32",
            Self::Mipsel64n32 => "SCMP_ARCH_MIPSEL64N32",
            Self::Parisc => "SCMP_ARCH_PARISC",
            Self::Parisc64 => "SCMP_ARCH_PARISC64",
            Self::M68k => "SCMP_ARCH_M68K",
            Self::Sh => "SCMP_ARCH_SH",
            Self::Sheb => "SCMP_ARCH_SHEB",
        }
    }

    /// The architecture that a profile means.
    pub(crate) const fn from_spec(named: Arch, native: Self) -> Self {
        match named {
            Arch::ScmpArchNative => native,
            Arch::ScmpArchX86 => Self::X86,
            Arch::ScmpArchX86_64 => Self::X86_64,
            Arch::ScmpArchX32 => Self::X32,
            Arch::ScmpArchArm => Self::Arm,
            Arch::ScmpArchAarch64 => Self::Aarch64,
            Arch::ScmpArchMips => Self::Mips,
            Arch::ScmpArchMips64 => Self::Mips64,
            Arch::ScmpArchMipsel => Self::Mipsel,
            Arch::ScmpArchMipsel64 => Self::Mipsel64,
            Arch::ScmpArchPpc => Self::Ppc,
            Arch::ScmpArchPpc64 => Self::Ppc64,
            Arch::ScmpArchPpc64le => Self::Ppc64le,
            Arch::ScmpArchRiscv64 => Self::Riscv64,
            Arch::ScmpArchS390x => Self::S390x,
            Arch::ScmpArchLoongarch64 => Self::Loongarch64,
            Arch::ScmpArchS390 => Self::S390,
            Arch::ScmpArchMips64n32 => Self::Mips64n32,
            Arch::ScmpArchMipsel64n32 => Self::Mipsel64n32,
            Arch::ScmpArchParisc => Self::Parisc,
            Arch::ScmpArchParisc64 => Self::Parisc64,
            Arch::ScmpArchM68k => Self::M68k,
            Arch::ScmpArchSh => Self::Sh,
            Arch::ScmpArchSheb => Self::Sheb,
        }
    }

    /// Its `AUDIT_ARCH_*` of linux/audit.h, which the kernel gives as `seccomp_data.arch`: the
    /// ELF machine number, with bit 31 for 64-bit, bit 30 for little-endian and bit 29 for n32. x32
    /// has that of x86_64.
    pub(crate) const fn audit(self) -> u32 {
        match self {
            Self::X86 => 0x4000_0003,
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::Arm => 0x4000_0028,
            Self::Aarch64 => 0xc000_00b7,
            Self::Mips => 0x0000_0008,
            Self::Mips64 => 0x8000_0008,
            Self::Mipsel => 0x4000_0008,
            Self::Mipsel64 => 0xc000_0008,
            Self::Ppc => 0x0000_0014,
            Self::Ppc64 => 0x8000_0015,
            Self::Ppc64le => 0xc000_0015,
            Self::Riscv64 => 0xc000_00f3,
            Self::S390x => 0x8000_0016,
            Self::Loongarch64 => 0xc000_0102,
            Self::S390 => 0x0000_0016,
            Self::Mips64n32 => 0xa000_0008,
            Self::Mipsel64n32 => 0xe000_0008,
            Self::Parisc => 0x0000_000f,
            Self::Parisc64 => 0x8000_000f,
            Self::M68k => 0x0000_0004,
            Self::Sh => 0x4000_002a,
            Self::Sheb => 0x0000_002a,
        }
    }

    /// Whether the words of a number are in memory with the low one first.
    pub(crate) const fn is_little_endian(self) -> bool {
        self.audit() & 1 << 30 != 0
    }

    /// Whether all 64 bits of an argument count.
    pub(crate) const fn compares_64_bits(self) -> bool {
        let has_short_pointers = matches!(self, Self::X32 | Self::Mips64n32 | Self::Mipsel64n32);
        self.audit() & 1 << 31 != 0 && !has_short_pointers
    }

    /// Where the argument `index`, 0 to 5, is.
    pub(crate) fn argument(self, index: u8) -> ArgumentWords {
        let first = ARGUMENTS + 8 * Word::from(index);
        let (low, high) =
            if self.is_little_endian() { (first, first + 4) } else { (first + 4, first) };
        ArgumentWords { low, high: self.compares_64_bits().then_some(high) }
    }

    /// Its `ENOSYS` of asm/errno.h.
    pub(crate) const fn enosys(self) -> u32 {
        match self {
            Self::Mips | Self::Mips64 | Self::Mips64n32 => 89,
            Self::Mipsel | Self::Mipsel64 | Self::Mipsel64n32 => 89,
            Self::Parisc | Self::Parisc64 => 251,
            _ => 38,
        }
    }

    const USUAL_MULTIPLEXERS: Option<Multiplexers> =
        Some(Multiplexers { socketcall: 102, ipc: 117 });

    /// Its multiplexers, if it has them.
    pub(crate) const fn multiplexers(self) -> Option<Multiplexers> {
        match self {
            Self::X86 | Self::Ppc | Self::Ppc64 | Self::Ppc64le => Self::USUAL_MULTIPLEXERS,
            Self::S390 | Self::S390x | Self::M68k | Self::Sh | Self::Sheb => {
                Self::USUAL_MULTIPLEXERS
            }
            Self::Mips | Self::Mipsel => Some(Multiplexers { socketcall: 4102, ipc: 4117 }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_argument_follow_byte_order_and_width() {
        let words = |architecture: Architecture| architecture.argument(2);
        assert_eq!(words(Architecture::X86_64), ArgumentWords { low: 32, high: Some(36) });
        assert_eq!(words(Architecture::S390x), ArgumentWords { low: 36, high: Some(32) });
        assert_eq!(words(Architecture::X86), ArgumentWords { low: 32, high: None });
        assert_eq!(words(Architecture::X32), ArgumentWords { low: 32, high: None });
        assert_eq!(words(Architecture::Ppc), ArgumentWords { low: 36, high: None });
        assert_eq!(words(Architecture::Mips64n32), ArgumentWords { low: 36, high: None });
        assert_eq!(words(Architecture::Sh), ArgumentWords { low: 32, high: None });
    }

    #[test]
    fn names_are_the_specs() {
        for &architecture in Architecture::ALL {
            let named: Arch =
                serde_json::from_value(architecture.name().into()).expect("a name of the spec");
            let native = Architecture::Mips;
            assert_eq!(Architecture::from_spec(named, native), architecture);
            assert_eq!(architecture.name(), named.to_string());
        }
        let native = Architecture::from_spec(Arch::ScmpArchNative, Architecture::S390x);
        assert_eq!(native, Architecture::S390x);
    }

    #[test]
    fn the_build_is_for_a_known_architecture() {
        assert!(Architecture::native().is_some());
    }
}
