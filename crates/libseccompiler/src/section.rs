//! What each architecture does with each of its system call numbers.

use crate::Architecture;
use crate::argument::{self, Condition, Operator};
use crate::graph::{ARCHITECTURE, Branches, Comparison, Graph, NodeId};
use crate::names::{self, Multiplexed, Name, X32_BIT};
use crate::precedence::{self, Case};
use crate::profile::{Profile, Rule, verdict};
use crate::search::{Range, search};

/// What a tracer sets to skip a system call (seccomp(2)).
const SKIPPED: u32 = u32::MAX;

/// The whole decision: which architecture, then which number, then which arguments.
pub(crate) fn program(graph: &mut Graph, profile: &Profile<'_>) -> NodeId {
    let mut audits: Vec<u32> = Vec::new();
    for architecture in &profile.architectures {
        if !audits.contains(&architecture.audit()) {
            audits.push(architecture.audit());
        }
    }
    let foreign = graph.verdict(verdict::KILL_THREAD);
    // The machine's own comes first, in the program too.
    audits.into_iter().rev().fold(foreign, |no, audit| {
        let yes = section(graph, profile, audit);
        graph.test(ARCHITECTURE, Comparison::Equal(audit), Branches { yes, no })
    })
}

/// The decision for all that the kernel reports as `audit`: one architecture, or x86_64 and x32.
fn section(graph: &mut Graph, profile: &Profile<'_>, audit: u32) -> NodeId {
    let covers = |architecture| profile.architectures.contains(&architecture);
    let x86_64 = Architecture::X86_64;
    if audit != x86_64.audit() {
        let only = profile.architectures.iter().find(|one| one.audit() == audit);
        let ranges = only.map(|one| ranges(graph, profile, *one)).unwrap_or_default();
        return search(graph, ranges);
    }
    let foreign = graph.verdict(verdict::KILL_THREAD);
    let kill = |first| vec![Range { first, verdict: foreign }];
    let mut all = if covers(x86_64) { ranges(graph, profile, x86_64) } else { kill(0) };
    all.retain(|range| range.first < X32_BIT);
    if covers(Architecture::X32) {
        let own = ranges(graph, profile, Architecture::X32);
        let below = own.iter().rfind(|range| range.first <= X32_BIT).copied();
        all.extend(below.map(|range| Range { first: X32_BIT, ..range }));
        all.extend(own.into_iter().filter(|range| range.first > X32_BIT));
    } else {
        all.extend(kill(X32_BIT));
        // It has the bit of x32 and is none; nor is it newer than what the profile names.
        let skipped = if covers(x86_64) { graph.verdict(profile.default) } else { foreign };
        all.push(Range { first: SKIPPED, verdict: skipped });
    }
    search(graph, all)
}

/// The numbers of one architecture, from 0 on. Those above the newest system call that the profile
/// names are the last range.
fn ranges(graph: &mut Graph, profile: &Profile<'_>, architecture: Architecture) -> Vec<Range> {
    let default = graph.verdict(profile.default);
    let resolved = resolve(profile, architecture);
    let unnamed = match newest(&resolved, architecture) {
        Some(newest) if !profile.is_permissive => {
            let beyond = graph.verdict(verdict::ERRNO | architecture.enosys());
            Unnamed { default, end: newest + 1, beyond }
        }
        _ => Unnamed { default, end: 0, beyond: default },
    };
    let mut ranges = Vec::new();
    let mut next = 0;
    let cases = cases(profile, &resolved, architecture);
    for of_number in cases.chunk_by(|(one, _), (other, _)| one == other) {
        let number = of_number[0].0;
        ranges.extend(unnamed.ranges(next..number));
        let of_number = of_number.iter().map(|(_, case)| case);
        let verdict = decision(graph, architecture, of_number, default);
        ranges.push(Range { first: number, verdict });
        next = number + 1;
    }
    ranges.extend(unnamed.ranges(next..u32::MAX));
    ranges
}

/// What numbers without a rule get: the default below `end`, and what is beyond from there on.
struct Unnamed {
    default: NodeId,
    end: u32,
    beyond: NodeId,
}

impl Unnamed {
    fn ranges(&self, numbers: std::ops::Range<u32>) -> impl Iterator<Item = Range> + use<> {
        let below = Range { first: numbers.start, verdict: self.default };
        let above = Range { first: numbers.start.max(self.end), verdict: self.beyond };
        [below, above]
            .into_iter()
            .zip([numbers.start..numbers.end.min(self.end), above.first..numbers.end])
            .filter(|(_, covered)| !covered.is_empty())
            .map(|(range, _)| range)
    }
}

/// A name where the profile has it, and its number if the architecture has one.
struct Resolved<'a> {
    rule: &'a Rule<'a>,
    name: Name<'a>,
    number: Option<u32>,
}

/// Each name of each rule, in the profile's order.
fn resolve<'a>(profile: &'a Profile<'a>, architecture: Architecture) -> Vec<Resolved<'a>> {
    let resolve = |rule: &'a Rule<'a>| {
        rule.names.iter().map(move |name| {
            let number = names::number(architecture, *name);
            Resolved { rule, name: *name, number }
        })
    };
    profile.rules.iter().flat_map(resolve).collect()
}

/// The largest number that the profile names, whatever its rules do. Calls that have a multiplexer
/// are older than their own numbers, and do not count.
fn newest(resolved: &[Resolved<'_>], architecture: Architecture) -> Option<u32> {
    let multiplexes = architecture.multiplexers().is_some();
    resolved
        .iter()
        .filter(|one| !(multiplexes && names::multiplexed(one.name.text).is_some()))
        .filter_map(|one| one.number)
        .max()
}

/// The decision for one number: the first case that holds, or else the default.
fn decision<'a>(
    graph: &mut Graph,
    architecture: Architecture,
    cases: impl Iterator<Item = &'a Case> + Clone,
    default: NodeId,
) -> NodeId {
    precedence::order(cases).into_iter().rev().fold(default, |no, case| {
        let yes = graph.verdict(case.action);
        argument::all(graph, architecture, &case.conditions, Branches { yes, no })
    })
}

/// All cases of all numbers in their order, those of one number in the profile's.
fn cases(
    profile: &Profile<'_>,
    resolved: &[Resolved<'_>],
    architecture: Architecture,
) -> Vec<(u32, Case)> {
    let mut cases = Vec::with_capacity(resolved.len());
    // A rule that does what is done anyway says nothing.
    for Resolved { rule, name, number } in
        resolved.iter().filter(|one| one.rule.action != profile.default)
    {
        if let Some(number) = *number {
            cases.extend(cases_of(rule, architecture).map(|case| (number, case)));
        }
        if let Some((number, more)) = multiplexed(rule, *name, architecture) {
            cases.extend(more.map(|case| (number, case)));
        }
    }
    cases.sort_by_key(|(number, _)| *number);
    cases
}

fn cases_of(rule: &Rule<'_>, architecture: Architecture) -> impl Iterator<Item = Case> {
    rule.alternatives.iter().map(move |conditions| {
        let conditions = conditions.iter().map(|condition| condition.on(architecture));
        let conditions = conditions.filter(|condition| !condition.is_empty()).collect();
        Case { conditions, action: rule.action }
    })
}

/// The cases of the multiplexer through which `name` is reached too. Its first argument says which
/// call is meant. The call's own arguments are in memory, where no filter can look: like
/// libseccomp, the conditions on the others are kept, and hold or not for what is there instead.
fn multiplexed(
    rule: &Rule<'_>,
    name: Name<'_>,
    architecture: Architecture,
) -> Option<(u32, impl Iterator<Item = Case>)> {
    let multiplexers = architecture.multiplexers()?;
    let (number, call) = match names::multiplexed(name.text)? {
        Multiplexed::Socketcall(call) => (multiplexers.socketcall, call),
        Multiplexed::Ipc(call) => (multiplexers.ipc, call),
    };
    let is_call = Condition { argument: 0, operator: Operator::Equal(call.into()) };
    let cases = cases_of(rule, architecture).map(move |mut case| {
        case.conditions.retain(|condition| condition.argument != 0);
        case.conditions.insert(0, is_call);
        case
    });
    Some((number, cases))
}
