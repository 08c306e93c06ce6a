//! The page docs/benchmarks.md: what was missed first, then what could not be judged, then the rest.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::compare::{Spread, short};
use crate::machine::Runs;
use crate::report::Row;

/// The page for a report.
pub(crate) fn page(rows: &[Row], runs: &Runs) -> String {
    let mut page = HEAD.to_owned();
    let of = |section| {
        let mut rows: Vec<_> = rows.iter().filter(|row| Section::of(row) == section).collect();
        rows.sort_by_key(|row| row.key());
        rows
    };
    let sections = [
        (Section::Missed, "Missed", "Every goal that is not reached, by the rounds at hand."),
        (
            Section::Noisy,
            "Too noisy to say",
            "The goal lies within the uncertainty of the median, after three times the rounds, or the disk \
             was too unsteady to keep seven of them.",
        ),
        (Section::Met, "Met", "Every goal that is reached."),
        (
            Section::Reported,
            "Without a goal",
            "Shown so that the comparison is complete and its trend kept.",
        ),
    ];
    for (section, title, what) in sections {
        let rows = of(section);
        let _ = write!(page, "\n## {title} ({})\n\n{what}\n", rows.len());
        if rows.is_empty() {
            page += "\nNone.\n";
        } else {
            table(&mut page, &rows);
        }
    }
    conditions(&mut page, runs);
    versions(&mut page, rows);
    methods(&mut page, rows);
    page
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Met,
    Missed,
    Noisy,
    Reported,
}

impl Section {
    fn of(row: &Row) -> Self {
        match row.met {
            Some(true) => Self::Met,
            Some(false) => Self::Missed,
            None if row.goal == "reported" => Self::Reported,
            None => Self::Noisy,
        }
    }
}

fn table(page: &mut String, rows: &[&Row]) {
    *page += "\n| id | variant | peer | ours | theirs | unit | ratio, or ours where there is no peer | goal | rounds |\n";
    *page += "|---|---|---|--:|--:|---|--:|---|--:|\n";
    for row in rows {
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
        let spread = Spread::of(row).map_or_else(
            || "none".to_owned(),
            |s| format!("**{}** [{} to {}]", short(s.median), short(s.min), short(s.max)),
        );
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {spread} | {} | {} |",
            row.id,
            cell(&row.variant),
            cell(row.peer.as_deref().unwrap_or("-")),
            figure(row.ours),
            figure(row.theirs),
            cell(&row.unit),
            cell(&row.goal),
            row.rounds.len(),
        );
    }
}

fn conditions(page: &mut String, runs: &Runs) {
    *page += "\n## Where and when\n\n";
    *page += "| group | date | commit | processor | kernel | disk | compiler | load before, after | took |\n";
    *page += "|---|---|---|---|---|---|---|---|--:|\n";
    for (group, run) in runs {
        let _ = writeln!(
            page,
            "| {group} | {} | {} | {} | {} | {} | {} | {:.2}, {:.2} | {:.0} s |",
            cell(&run.date),
            cell(&run.commit),
            cell(&run.cpu),
            cell(&run.kernel),
            cell(&run.disk),
            cell(&run.rustc),
            run.load.0,
            run.load.1,
            run.seconds,
        );
    }
    *page += "\nThe load includes the bench itself. Where it was well above 0.5 before a group began, others\n\
              worked on the machine too; the ratios bear that better than the figures do.\n";
}

fn versions(page: &mut String, rows: &[Row]) {
    let versions: BTreeMap<_, _> = rows
        .iter()
        .filter_map(|row| Some((row.peer.as_deref()?, row.peer_version.as_deref()?)))
        .collect();
    *page +=
        "\n## Peers\n\nAs locked in `benches/peers/Cargo.lock`.\n\n| peer | version |\n|---|---|\n";
    for (peer, version) in versions {
        let _ = writeln!(page, "| {} | {} |", cell(peer), cell(version));
    }
}

fn methods(page: &mut String, rows: &[Row]) {
    *page += "\n## How each row is measured\n\n";
    let mut sorted: Vec<_> = rows.iter().collect();
    sorted.sort_by_key(|row| row.key());
    for row in sorted {
        let peer = row.peer.as_deref().map(|peer| format!(", {peer}")).unwrap_or_default();
        let _ = writeln!(page, "- **{}** {}{peer}: {}", row.id, row.variant, row.what);
    }
}

/// Text that does not end a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench --peers`; do not edit. What was missed stands first.

Ours and a peer do the same work in one process and take turns, the order swapped each time; one such
exchange is a round. A row has at least seven, and up to three times as many while its goal lies within the
uncertainty of the median. The figures are medians over the rounds; the ratio is the median of the rounds'
ratios, ours over theirs, with the least and the greatest round beside it. A goal counts as reached, or as
missed, when the interval that holds the median in 95 of 100 cases lies on that side of it.

A round on the disk is discarded when raw `pwrite` + `fdatasync` before and after it differ by more than 15 %.
Rows with *cost* in their unit are the guarded call minus the bare closure, measured in the same turns.
`cargo xtask bench --compare OLD.json` says whether two reports agree.
What limits the log where it misses a goal stands in [limits.md](limits.md).
";

#[cfg(test)]
mod tests {
    use super::*;

    use crate::goal::Goal;
    use crate::machine::Conditions;
    use crate::report::tests::{label, rounds};

    fn row(id: &'static str, goal: Goal, ratio: f64) -> Row {
        Row::new(label(id, "v", Some("peer")), &goal, &rounds(&[(ratio, 1.0); 7]))
    }

    fn rows() -> Vec<Row> {
        vec![
            row("z.met", Goal::AtLeast(1.0), 2.0),
            row("y.reported", Goal::Reported, 2.0),
            row("x.noisy", Goal::AtLeast(1.0), f64::NAN),
            row("w.missed", Goal::AtLeast(1.0), 0.5),
        ]
    }

    #[test]
    fn what_was_missed_comes_first_and_what_is_met_after_what_is_unclear() {
        let page = page(&rows(), &Runs::new());
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text:?} in {page}"));
        assert!(at("| w.missed |") < at("| x.noisy |"));
        assert!(at("| x.noisy |") < at("| z.met |"));
        assert!(at("| z.met |") < at("| y.reported |"));
        assert!(at("## Missed (1)") < at("| w.missed |"));
        assert!(at("| w.missed |") < at("## Too noisy to say (1)"));
    }

    #[test]
    fn a_line_has_the_median_with_least_and_greatest_beside() {
        let pairs = [(1.0, 1.0), (2.0, 1.0), (3.0, 1.0)];
        let row = Row::new(label("a", "v", Some("peer")), &Goal::AtLeast(1.0), &rounds(&pairs));
        let page = page(&[row], &Runs::new());
        assert!(page.contains("| **2.00** [1.00 to 3.00] | >=1 | 3 |"), "{page}");
        assert!(page.contains("| peer | 1.2.3 |"), "{page}");
        assert!(page.contains("- **a** v, peer: a loop"), "{page}");
    }

    #[test]
    fn sections_that_are_empty_say_so_and_no_cell_breaks_a_table() {
        let page = page(&[], &Runs::new());
        assert_eq!(page.matches("None.").count(), 4, "{page}");
        assert_eq!(cell("a|b\nc"), "a\\|b c");
    }

    #[test]
    fn the_conditions_stand_beside_the_figures() {
        let run = Conditions {
            commit: "abc1234".into(),
            cpu: "some processor".into(),
            date: "2026-01-02 03:04 UTC".into(),
            disk: "ext4 on /dev/x".into(),
            kernel: "Linux 6".into(),
            rustc: "rustc 1".into(),
            load: (0.25, 1.5),
            seconds: 61.4,
        };
        let page = page(&[], &Runs::from([("wal".to_owned(), run)]));
        let line = "| wal | 2026-01-02 03:04 UTC | abc1234 | some processor | Linux 6 | ext4 on /dev/x | \
                    rustc 1 | 0.25, 1.50 | 61 s |";
        assert!(page.contains(line), "{page}");
    }
}
