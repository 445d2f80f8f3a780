//! Lists of CPUs and of memory nodes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One more than the highest number: Linux has no more memory nodes (linux/numa.h), and a CPU set
/// of sched_setaffinity(2) in its usual size no more CPUs.
const MOST: usize = 1024;

/// Numbers of CPUs or memory nodes: a bit for each, the lowest first.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberSet([u64; MOST / 64]);

impl NumberSet {
    /// Reads numbers and ranges, `0-3,7` (cpuset(7), "List format").
    ///
    /// # Errors
    /// The rule that `text` breaks.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits {
                return Err("is a list of numbers and ranges, such as 0-3,7 (cpuset(7))");
            }
            let number = text.parse().ok().filter(|number: &usize| *number < MOST);
            number.ok_or("has numbers from 0 to 1023")
        };
        let mut set = Self::default();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err("has a range whose end is before its start (cpuset(7))");
            }
            (first..=last).for_each(|number| set.0[number / 64] |= 1 << (number % 64));
        }
        Ok(set)
    }

    /// A bit for each number, the lowest of the first word first.
    pub(crate) const fn words(&self) -> &[u64] {
        &self.0
    }

    /// The numbers, in order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = usize> {
        (0..MOST).filter(|number| self.0[number / 64] >> (number % 64) & 1 == 1)
    }
}

impl fmt::Debug for NumberSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.numbers()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::NumberSet;

    #[test]
    fn numbers_and_ranges() {
        let numbers = |text| NumberSet::parse(text).map(|set| set.numbers().collect::<Vec<_>>());
        assert_eq!(numbers("0"), Ok(vec![0]));
        assert_eq!(numbers("0-3,7"), Ok(vec![0, 1, 2, 3, 7]));
        assert_eq!(numbers("1023,63-64,64"), Ok(vec![63, 64, 1023]));
        for wrong in ["", ",", "1,", "a", "-1", "1-", "3-1", "1024", "0-1024", "+1", " 1", "1-2-3"]
        {
            assert!(numbers(wrong).is_err(), "{wrong:?}");
        }
    }
}
