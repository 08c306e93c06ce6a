//! Whether two reports agree: row by row, within the spread that each of them states.

use std::fmt::Write as _;

use crate::harness::stats;
use crate::report::Row;

/// The comparison of two reports.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// For a person to read.
    pub(crate) table: String,
    pub(crate) agreeing: usize,
    pub(crate) all: usize,
}

impl Comparison {
    /// Compares what the goals are about: the ratios, or our figures where there is no peer. Two rows agree
    /// when what one of them states as its spread, least to greatest round, overlaps that of the other. A
    /// row that is in one report only, or has no finite value, does not agree.
    pub(crate) fn of(old: &[Row], new: &[Row]) -> Self {
        let mut lines = vec![(String::new(), false)];
        let header = ["old median [min to max]", "new median [min to max]"];
        lines[0].0 = format!("{:<52} {:>30} {:>30} {:>8}", "row", header[0], header[1], "change");
        for row in old {
            let twin = new.iter().find(|other| other.key() == row.key());
            lines.push(line(row, Some(row), twin));
        }
        for row in new.iter().filter(|row| !old.iter().any(|other| other.key() == row.key())) {
            lines.push(line(row, None, Some(row)));
        }
        let all = lines.len() - 1;
        let agreeing = lines.iter().filter(|(_, agrees)| *agrees).count();
        let mut table = String::new();
        for (line, _) in &lines {
            table += line;
            table.push('\n');
        }
        let _ = writeln!(table, "{agreeing} of {all} rows agree within the spread they state");
        Self { table, agreeing, all }
    }

    /// True when there is something to compare and all of it agrees.
    pub(crate) const fn agrees(&self) -> bool {
        self.agreeing == self.all && self.all > 0
    }
}

fn line(name: &Row, old: Option<&Row>, new: Option<&Row>) -> (String, bool) {
    let spreads = (old.and_then(Spread::of), new.and_then(Spread::of));
    let (agrees, change) = match spreads {
        (Some(old), Some(new)) => {
            let overlap = old.min <= new.max && new.min <= old.max;
            let change = if old.median == 0.0 && new.median == 0.0 {
                0.0
            } else {
                (new.median / old.median - 1.0) * 100.0
            };
            (overlap, format!("{change:+.1} %"))
        }
        _ => (false, "-".to_owned()),
    };
    let show = |spread: Option<Spread>| {
        spread.map_or_else(
            || "none".to_owned(),
            |s| format!("{} [{} to {}]", short(s.median), short(s.min), short(s.max)),
        )
    };
    let peer = name.peer.as_deref().map(|peer| format!(" / {peer}")).unwrap_or_default();
    let head = format!("{} {}{peer}", name.id, name.variant);
    let verdict = if agrees { "agrees" } else { "DIFFERS" };
    let (old, new) = (show(spreads.0), show(spreads.1));
    (format!("{head:<52} {old:>30} {new:>30} {change:>8} {verdict}"), agrees)
}

/// What a row states.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of what the goal of `row` is about.
    pub(crate) fn of(row: &Row) -> Option<Self> {
        let values = row.values();
        let (min, max) = stats::range(&values)?;
        Some(Self { median: stats::median(&values)?, min, max })
    }
}

/// Three significant digits, as far as there are.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => grouped(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Whole, with a blank between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::goal::Goal;
    use crate::report::tests::{label, rounds};

    fn row(variant: &str, ratios: &[f64]) -> Row {
        let pairs: Vec<_> = ratios.iter().map(|&ratio| (ratio, 1.0)).collect();
        Row::new(label("a.b", variant, Some("peer")), &Goal::Reported, &rounds(&pairs))
    }

    #[test]
    fn rows_agree_when_their_spreads_overlap() {
        let old = [row("x", &[1.0, 1.1, 1.2])];
        assert!(Comparison::of(&old, &[row("x", &[1.2, 1.3, 1.4])]).agrees());
        assert!(Comparison::of(&old, &[row("x", &[1.05])]).agrees());
        assert!(!Comparison::of(&old, &[row("x", &[1.21, 1.3])]).agrees());
        assert!(!Comparison::of(&old, &[row("x", &[0.5, 0.99])]).agrees());
    }

    #[test]
    fn a_row_on_one_side_only_and_a_row_of_nothing_do_not_agree() {
        let (x, y) = ([row("x", &[1.0])], [row("y", &[1.0])]);
        let comparison = Comparison::of(&x, &y);
        assert_eq!((comparison.agreeing, comparison.all), (0, 2));
        let nothing = [row("x", &[f64::NAN])];
        assert!(!Comparison::of(&nothing, &nothing).agrees());
        assert!(!Comparison::of(&x, &nothing).agrees());
        assert!(!Comparison::of(&[], &[]).agrees(), "two empty reports show nothing");
    }

    #[test]
    fn the_table_shows_both_and_counts() {
        let old = [row("x", &[1.0, 2.0, 3.0]), row("y", &[1.0])];
        let new = [row("x", &[2.0, 2.2, 3.0]), row("y", &[5.0])];
        let table = Comparison::of(&old, &new).table;
        assert!(table.contains("2.00 [1.00 to 3.00]"), "{table}");
        assert!(table.contains("+10.0 % agrees"), "{table}");
        assert!(table.contains("DIFFERS"), "{table}");
        assert!(table.ends_with("1 of 2 rows agree within the spread they state\n"), "{table}");
    }

    #[test]
    fn figures_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.012"),
            (0.97, "0.97"),
            (12.34, "12.3"),
            (123.4, "123"),
            (9_219.4, "9 219"),
            (1_234_567.0, "1 234 567"),
            (-4_000.0, "-4 000"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
