//! What the probes have tried, and what they have hit.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::REPORT;
use crate::cases::Test;
use crate::command::Output;
use crate::container::Container;
use crate::hostile::probes::{PROBES, Powers};

/// What a probe has hit.
#[derive(Debug)]
pub(super) struct Hit {
    count: usize,
    /// Since the beginning.
    first: Duration,
    what: String,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) began: Instant,
    /// How many containers ran with which powers.
    ran: BTreeMap<&'static str, usize>,
    /// Commands that failed, since a path had changed, and what the last of them said.
    refused: usize,
    refusal: String,
    tried: BTreeSet<String>,
    pub(super) hits: BTreeMap<String, Hit>,
}

impl Outcome {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            ran: BTreeMap::new(),
            refused: 0,
            refusal: String::new(),
            tried: BTreeSet::new(),
            hits: BTreeMap::new(),
        }
    }

    /// A container runs.
    pub(super) fn ran(&mut self, powers: Powers) {
        *self.ran.entry(powers.name()).or_default() += 1;
    }

    /// Whether a command failed.
    pub(super) fn is_refused(&mut self, output: anyhow::Result<Output>) -> bool {
        let Err(error) = output else { return false };
        self.refused += 1;
        self.refusal = format!("{error:#}");
        true
    }

    pub(super) fn hit(&mut self, probe: &str, what: &str) {
        let first = self.began.elapsed();
        let new = || Hit { count: 0, first, what: what.to_owned() };
        self.hits.entry(probe.to_owned()).or_insert_with(new).count += 1;
    }

    pub(super) fn outside(&mut self, probe: &str, what: Option<String>) {
        self.tried.insert(probe.to_owned());
        what.inspect(|what| self.hit(probe, what));
    }

    /// Takes over what the program has reported.
    pub(super) fn read(&mut self, container: &Container) {
        let path = container.directory.join(REPORT);
        for line in fs::read_to_string(&path).unwrap_or_default().lines() {
            if let Some(probe) = line.strip_prefix("tried ") {
                self.tried.insert(probe.to_owned());
            }
            if let Some((probe, what)) =
                line.strip_prefix("hit ").and_then(|rest| rest.split_once(": "))
            {
                self.hit(probe, what);
            }
        }
    }

    pub(super) fn shown(&self) -> String {
        let seconds = self.began.elapsed().as_secs();
        let ran: usize = self.ran.values().sum();
        let refused = self.refused;
        let powers = self.ran.iter().map(|(powers, ran)| format!("{ran} with {powers}"));
        let powers = powers.collect::<Vec<_>>().join(", ");
        let figures =
            format!("{ran} containers in {seconds} s ({powers}); {refused} commands refused");
        let hits = self.hits.iter().map(|(probe, hit)| {
            let seconds = hit.first.as_secs_f64();
            format!("\n  {probe}: {} hits, the first after {seconds:.1} s: {}", hit.count, hit.what)
        });
        let refusal = Some(&self.refusal).filter(|_| refused > 0);
        let refusal = refusal.map(|text| format!("; the last: {text}")).unwrap_or_default();
        format!("{figures}{refusal}{}", hits.collect::<String>())
    }

    /// The probes that were not tried, and the powers with which no container ran.
    pub(super) fn untried(&self) -> Vec<&'static str> {
        let probes = PROBES.iter().map(|probe| probe.name);
        let probes = probes.filter(|name| !self.tried.contains(*name));
        let powers = Powers::EACH.iter().map(|powers| powers.name());
        probes.chain(powers.filter(|name| !self.ran.contains_key(name))).collect()
    }

    /// Fails unless all were tried and nothing was hit.
    pub(super) fn verdict(&self) -> Test {
        let untried = self.untried();
        ensure!(self.hits.is_empty(), "the host was reached: {}", self.shown());
        ensure!(untried.is_empty(), "not tried: {untried:?}: {}", self.shown());
        Ok(())
    }
}
