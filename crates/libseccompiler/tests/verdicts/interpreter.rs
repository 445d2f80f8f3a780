//! Runs a filter as the kernel does (Documentation/networking/filter.rst).
//! The unit tests of `assembler` use it too.

/// One instruction: code, jump if true, jump if false, operand.
pub(crate) type Instruction = (u16, u8, u8, u32);

/// The return value for the words of a `struct seccomp_data`.
pub(crate) fn execute(program: &[Instruction], words: [u32; 16]) -> u32 {
    trace(program, words).0
}

/// The return value, and how many instructions it took.
pub(crate) fn trace(program: &[Instruction], words: [u32; 16]) -> (u32, usize) {
    let (mut at, mut accumulator, mut depth) = (0, 0, 0);
    loop {
        depth += 1;
        let (code, jump_true, jump_false, operand) = program[at];
        at += 1;
        let holds = match code {
            0x20 => {
                accumulator = words[operand as usize / 4];
                continue;
            }
            0x54 => {
                accumulator &= operand;
                continue;
            }
            0x05 => {
                at += operand as usize;
                continue;
            }
            0x06 => return (operand, depth),
            0x15 => accumulator == operand,
            0x25 => accumulator > operand,
            0x35 => accumulator >= operand,
            0x45 => accumulator & operand != 0,
            code => panic!("instruction {code:#x}"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}
