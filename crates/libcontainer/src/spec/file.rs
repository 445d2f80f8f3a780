//! Files of JSON that are read whole: regular ones, of a size that a config has.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::fs::OFlags;

/// The most that is read, in bytes: the largest configs that engines write have some hundred thousand,
/// and what is read takes several times as much memory.
const LARGEST: u64 = 16 << 20;

/// Reads the file at `path`.
///
/// # Errors
/// It cannot be opened or read, has too many bytes, or is no regular file: one that never ends, or
/// waits for a writer, would hold the runtime up.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || format!("read {}", path.display());
    let (file, length) = open(path).with_context(context)?;
    read_all(file, length).with_context(context)
}

/// Reads standard input, whatever it is, to its end.
///
/// # Errors
/// It cannot be read, or has too many bytes.
pub(super) fn read_standard_input() -> anyhow::Result<Vec<u8>> {
    read_all(std::io::stdin().lock(), 0).context("read standard input")
}

/// With room for all of it, if `length` says how much that is, one read(2) gets it, and another says that this was all.
fn read_all(from: impl std::io::Read, length: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length.min(LARGEST) as usize + 1);
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= LARGEST,
        "it has more than {LARGEST} bytes, which no config needs"
    );
    Ok(bytes)
}

/// The file, and how many bytes it has now.
fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = flags.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata().context("fstat")?;
    ensure!(!metadata.is_dir(), std::io::Error::from(std::io::ErrorKind::IsADirectory));
    ensure!(metadata.is_file(), "it is not a regular file: give a file of JSON");
    Ok((file, metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, read_all};

    /// What would give twice as much as is taken, and then fails.
    struct TooLarge(u64);

    impl std::io::Read for TooLarge {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0 += buffer.len() as u64;
            if self.0 > 2 * LARGEST {
                Err(std::io::ErrorKind::Other.into())
            } else {
                Ok(buffer.len())
            }
        }
    }

    #[test]
    fn no_more_is_read_than_is_taken() {
        let error = read_all(TooLarge(0), 0).unwrap_err();
        assert!(error.to_string().contains("has more than"), "{error}");
    }
}
