//! [`Session`]: what the groups share while they measure, and the rows they hand in.

use crate::args::Args;
use crate::goal::Goal;
use crate::harness::cpu::{self, Pair, Run, Subject};
use crate::harness::disk::{self, Metric, Open, Sample, Scratch, Shape};
use crate::harness::{Failure, Plan, Round, wants_more};
use crate::machine::version_of;
use crate::report::{Label, Row};

/// One run of the program over one group.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    pub(crate) args: &'a Args,
    pub(crate) group: &'static str,
    pub(crate) plan: Plan,
    pub(crate) scratch: &'a Scratch,
    pub(crate) rows: Vec<Row>,
}

/// A row of work that stays in memory.
#[derive(Clone, Debug)]
pub(crate) struct CpuRow {
    pub(crate) id: &'static str,
    pub(crate) variant: &'static str,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    /// The peer as the lock file calls it.
    pub(crate) peer: Option<&'static str>,
    pub(crate) pair: Pair,
    pub(crate) goal: Goal,
}

/// The unit of a row of work that stays in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds a call.
    Nanos,
    /// Nanoseconds a call beyond the bare closure.
    NanosCost,
    /// Millions of calls a second.
    Rate,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Nanos => "ns a call",
            Self::NanosCost => "ns cost a call",
            Self::Rate => "M calls/s",
        }
    }

    fn convert(self) -> fn(f64) -> f64 {
        match self {
            Self::Nanos | Self::NanosCost => |nanos| nanos,
            Self::Rate => |nanos| 1e3 / nanos,
        }
    }
}

/// A row of work that waits for the disk; the rows of one measurement share its rounds.
#[derive(Clone, Debug)]
pub(crate) struct DiskRow {
    pub(crate) id: &'static str,
    pub(crate) variant: String,
    pub(crate) unit: &'static str,
    pub(crate) pick: fn(&Sample) -> f64,
    pub(crate) goal: Goal,
    /// The goal bounds our own figure; the peer only shares the rounds.
    pub(crate) alone: bool,
}

/// A row whose rounds are made by the group itself; several that are measured together share them.
#[derive(Clone, Debug)]
pub(crate) struct OwnRow {
    pub(crate) id: &'static str,
    pub(crate) variant: String,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    /// Who is compared with, and its version.
    pub(crate) peer: Option<(&'static str, Option<String>)>,
    pub(crate) goal: Goal,
}

/// A peer that writes to the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskPeer {
    /// As the report calls it.
    pub(crate) name: &'static str,
    /// As the lock file calls it; nothing for what is no package.
    pub(crate) package: Option<&'static str>,
    /// How it is set up, and why that is fair.
    pub(crate) setup: &'static str,
    pub(crate) open: Open,
}

impl DiskPeer {
    /// The version that is locked, with the package where it has another name.
    fn version(&self) -> Option<String> {
        let package = self.package?;
        let version = version_of(package)?;
        Some(if package == self.name { version } else { format!("{version} ({package})") })
    }
}

impl Session<'_> {
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.args.wants(self.group, id)
    }

    /// Measures a row of work that stays in memory.
    pub(crate) fn cpu(&mut self, row: CpuRow) -> Result<(), Failure> {
        if !self.wants(row.id) {
            return Ok(());
        }
        let plan = self.plan.with_more_rounds();
        let measured = cpu::measure(&plan, &row.pair, &row.goal, row.unit.convert())?;
        let what = match measured.bare {
            Some(bare) => format!("{} The bare closure takes {bare:.2} ns.", row.what),
            None => row.what,
        };
        let label = Label {
            id: row.id,
            variant: row.variant.to_owned(),
            what,
            unit: row.unit.name(),
            peer: row.peer,
            peer_version: row.peer.and_then(version_of),
        };
        self.push(Row::new(label, &row.goal, &measured.rounds));
        Ok(())
    }

    /// Hands in a row of allocations a call: each of `counts` is one round.
    pub(crate) fn allocations(
        &mut self,
        id: &'static str,
        what: &str,
        goal: Goal,
        mut count: impl FnMut() -> Result<f64, Failure>,
    ) -> Result<(), Failure> {
        if !self.wants(id) {
            return Ok(());
        }
        let rounds = (0..self.plan.min_rounds)
            .map(|_| Ok(Round { ours: count()?, theirs: None }))
            .collect::<Result<Vec<_>, Failure>>()?;
        let label = Label {
            id,
            variant: "allocations".to_owned(),
            what: what.to_owned(),
            unit: "allocations a call",
            peer: None,
            peer_version: None,
        };
        self.push(Row::new(label, &goal, &rounds));
        Ok(())
    }

    /// Measures rows of work that waits for the disk.
    pub(crate) fn disk(
        &mut self,
        ours: Open,
        peer: &DiskPeer,
        shape: Shape,
        what: &str,
        rows: &[DiskRow],
    ) -> Result<(), Failure> {
        let rows: Vec<_> = rows.iter().filter(|row| self.wants(row.id)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let metrics =
            rows.iter().map(|row| Metric { pick: row.pick, goal: row.goal, alone: row.alone });
        let metrics: Vec<_> = metrics.collect();
        let measured = disk::measure(&self.plan, self.scratch, (ours, peer.open), shape, &metrics)?;
        for (row, rounds) in rows.into_iter().zip(&measured.rounds) {
            let label = Label {
                id: row.id,
                variant: row.variant.clone(),
                what: format!(
                    "{what} {}: {} {} of {} rounds discarded, because the disk changed its pace.",
                    peer.name,
                    peer.setup,
                    measured.discarded,
                    measured.discarded + rounds.len(),
                ),
                unit: row.unit,
                peer: (!row.alone).then_some(peer.name),
                peer_version: if row.alone { None } else { peer.version() },
            };
            self.push(Row::new(label, &row.goal, rounds));
        }
        Ok(())
    }

    /// Measures rows that share their rounds: `round` returns one for each of `rows`, or nothing when what
    /// it saw is to be discarded. It is called until every row can be judged, or the plan is at its end.
    pub(crate) fn own(
        &mut self,
        rows: &[OwnRow],
        mut round: impl FnMut(usize) -> Result<Option<Vec<Round>>, Failure>,
    ) -> Result<(), Failure> {
        if !rows.iter().any(|row| self.wants(row.id)) {
            return Ok(());
        }
        let mut rounds = vec![Vec::new(); rows.len()];
        for tried in 0.. {
            let is_undecided = |(row, rounds): (&OwnRow, &Vec<Round>)| {
                self.wants(row.id) && wants_more(&self.plan, &row.goal, rounds, tried)
            };
            if !rows.iter().zip(&rounds).any(is_undecided) {
                break;
            }
            for (rounds, round) in rounds.iter_mut().zip(round(tried)?.into_iter().flatten()) {
                rounds.push(round);
            }
        }
        for (row, rounds) in rows.iter().zip(&rounds) {
            self.hand_in(row, rounds);
        }
        Ok(())
    }

    /// Hands in a row whose rounds were made elsewhere.
    pub(crate) fn hand_in(&mut self, row: &OwnRow, rounds: &[Round]) {
        if !self.wants(row.id) {
            return;
        }
        let OwnRow { id, variant, what, unit, peer, goal } = row.clone();
        let (peer, peer_version) = peer.unzip();
        let label = Label { id, variant, what, unit, peer, peer_version: peer_version.flatten() };
        self.push(Row::new(label, &goal, rounds));
    }

    fn push(&mut self, row: Row) {
        let spread = crate::compare::Spread::of(&row);
        let show = spread.map_or_else(
            || "no value".to_owned(),
            |s| {
                let short = crate::compare::short;
                format!("{} [{} to {}]", short(s.median), short(s.min), short(s.max))
            },
        );
        let met = match row.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "-",
        };
        println!(
            "{:<16} {:<26} {:<32} {show:>26}  {:<9} {met}",
            row.id,
            row.variant,
            row.peer.as_deref().unwrap_or("-"),
            row.goal
        );
        self.rows.push(row);
    }
}

/// How many allocations a call of `run` makes, once it is warm.
pub(crate) fn allocations_per_call(subject: fn() -> Result<Run, Failure>) -> Result<f64, Failure> {
    const CALLS: u64 = 10_000;
    let mut run = subject()?;
    run(CALLS);
    let counted = crate::alloc::count(|| {
        run(CALLS);
    });
    Ok(counted as f64 / CALLS as f64)
}

/// A pair of subjects.
pub(crate) const fn pair(
    ours: fn() -> Result<Run, Failure>,
    theirs: Option<fn() -> Result<Run, Failure>>,
    bare: Option<fn() -> Result<Run, Failure>>,
) -> Pair {
    const fn subject(make: Option<fn() -> Result<Run, Failure>>) -> Option<Subject> {
        match make {
            Some(make) => Some(Subject::new(make)),
            None => None,
        }
    }
    Pair { ours: Subject::new(ours), theirs: subject(theirs), bare: subject(bare) }
}
