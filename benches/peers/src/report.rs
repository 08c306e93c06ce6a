//! The report: an array of rows, merged by id, variant and peer, so that one group can be measured anew
//! and what other commands put there stays.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::goal::Goal;
use crate::harness::{Failure, Round, stats};

/// One row: one variant of one goal against one peer, or against nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) variant: String,
    /// How it was measured, for a reader who wants to know what the figures mean.
    pub(crate) what: String,
    /// The median of our rounds.
    pub(crate) ours: Option<f64>,
    pub(crate) unit: String,
    pub(crate) peer: Option<String>,
    pub(crate) peer_version: Option<String>,
    /// The median of the peer's rounds.
    pub(crate) theirs: Option<f64>,
    /// Every round: ours, theirs.
    pub(crate) rounds: Vec<(Option<f64>, Option<f64>)>,
    /// The median of the ratios of the rounds.
    pub(crate) ratio: Option<f64>,
    pub(crate) goal: String,
    /// `None`: the rounds cannot say, or there is no bound.
    pub(crate) met: Option<bool>,
}

/// What identifies a row and what it is compared with, before it was measured.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) id: &'static str,
    pub(crate) variant: String,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) peer: Option<&'static str>,
    pub(crate) peer_version: Option<String>,
}

impl Row {
    /// A row from its rounds.
    pub(crate) fn new(label: Label, goal: &Goal, rounds: &[Round]) -> Self {
        let values: Vec<_> = rounds.iter().map(|round| round.value()).collect();
        let ours: Vec<_> = rounds.iter().map(|round| round.ours).collect();
        let theirs: Vec<_> = rounds.iter().filter_map(|round| round.theirs).collect();
        let finite = |value: f64| value.is_finite().then_some(value);
        Self {
            id: label.id.to_owned(),
            variant: label.variant,
            what: label.what,
            ours: stats::median(&ours),
            unit: label.unit.to_owned(),
            peer: label.peer.map(str::to_owned),
            peer_version: label.peer_version,
            theirs: stats::median(&theirs),
            rounds: rounds
                .iter()
                .map(|round| (finite(round.ours), round.theirs.and_then(finite)))
                .collect(),
            ratio: label.peer.and_then(|_| stats::median(&values)),
            goal: goal.to_string(),
            met: goal.verdict(&values),
        }
    }

    /// What the goal is about in each round: the ratio, or our figure where there is no peer.
    pub(crate) fn values(&self) -> Vec<f64> {
        let value = |&(ours, theirs): &(Option<f64>, Option<f64>)| {
            let ours = ours.unwrap_or(f64::NAN);
            let theirs = self.peer.as_ref().map(|_| theirs.unwrap_or(f64::NAN));
            Round { ours, theirs }.value()
        };
        self.rounds.iter().map(value).collect()
    }

    pub(crate) fn key(&self) -> (&str, &str, &str) {
        (&self.id, &self.variant, self.peer.as_deref().unwrap_or_default())
    }
}

/// The rows of a report file; none when there is no file yet.
pub(crate) fn load(path: &Path) -> Result<Vec<Value>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// The rows in `entries` that have the fields of a row; what else is there is left alone.
pub(crate) fn rows(entries: &[Value]) -> Vec<Row> {
    entries.iter().filter_map(|entry| serde_json::from_value(entry.clone()).ok()).collect()
}

/// Puts `rows` in the place of those with the same id, variant and peer, or at the end.
pub(crate) fn merge(entries: &mut Vec<Value>, rows: &[Row]) -> Result<(), Failure> {
    for row in rows {
        let value = serde_json::to_value(row)?;
        match entries.iter_mut().find(|entry| key(entry) == key(&value)) {
            Some(entry) => *entry = value,
            None => entries.push(value),
        }
    }
    Ok(())
}

/// Writes the report, whole or not at all, a row a line.
pub(crate) fn save(path: &Path, entries: &[Value]) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let lines: Vec<_> = entries.iter().map(ToString::to_string).collect();
    let temporary = path.with_extension("new");
    fs::write(&temporary, format!("[\n{}\n]\n", lines.join(",\n")))?;
    Ok(fs::rename(&temporary, path)?)
}

fn key(entry: &Value) -> (Option<&str>, Option<&str>, Option<&str>) {
    let field = |name| entry.get(name).and_then(Value::as_str);
    (field("id"), field("variant"), field("peer"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn label(id: &'static str, variant: &str, peer: Option<&'static str>) -> Label {
        let peer_version = peer.map(|_| "1.2.3".to_owned());
        let (variant, what) = (variant.to_owned(), "a loop".to_owned());
        Label { id, variant, what, unit: "ns", peer, peer_version }
    }

    pub(crate) fn rounds(pairs: &[(f64, f64)]) -> Vec<Round> {
        pairs.iter().map(|&(ours, theirs)| Round { ours, theirs: Some(theirs) }).collect()
    }

    #[test]
    fn a_row_has_the_fields_of_the_report_and_no_others() {
        let row = Row::new(
            label("a.b", "1 t", Some("peer")),
            &Goal::AtMost(1.0),
            &rounds(&[(1.0, 2.0); 7]),
        );
        let value = serde_json::to_value(&row).unwrap();
        let mut fields: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "goal",
                "id",
                "met",
                "ours",
                "peer",
                "peer_version",
                "ratio",
                "rounds",
                "theirs",
                "unit",
                "variant",
                "what"
            ]
        );
        assert_eq!(value["rounds"][0], serde_json::json!([1.0, 2.0]));
        assert_eq!((row.ratio, row.met), (Some(0.5), Some(true)));
        assert_eq!(value["goal"], "<=1");
    }

    #[test]
    fn the_ratio_is_of_the_rounds_and_not_of_the_medians() {
        let pairs = [(1.0, 1.0), (10.0, 5.0), (3.0, 1.0)];
        let row = Row::new(label("a", "", Some("peer")), &Goal::Reported, &rounds(&pairs));
        assert_eq!((row.ours, row.theirs, row.ratio), (Some(3.0), Some(1.0), Some(2.0)));
        assert_eq!(row.values(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_row_without_peer_is_about_our_figure() {
        let alone = [Round { ours: 4.0, theirs: None }; 7];
        let row = Row::new(label("a", "", None), &Goal::AtMost(3.0), &alone);
        assert_eq!(
            (row.ours, row.theirs, row.ratio, row.met),
            (Some(4.0), None, None, Some(false))
        );
        assert_eq!(row.values(), [4.0; 7]);
    }

    #[test]
    fn rounds_that_are_no_numbers_stand_as_null_and_meet_nothing() {
        let pairs = [(f64::NAN, 1.0), (1.0, 0.0)];
        let row = Row::new(label("a", "", Some("peer")), &Goal::AtMost(9.0), &rounds(&pairs));
        assert_eq!(row.rounds, [(None, Some(1.0)), (Some(1.0), Some(0.0))]);
        assert_eq!((row.ratio, row.met), (None, None));
        let back: Row = serde_json::from_value(serde_json::to_value(&row).unwrap()).unwrap();
        assert_eq!(back, row);
        assert!(back.values().iter().all(|value| value.is_nan()));
    }

    #[test]
    fn a_row_without_rounds_is_written_and_meets_nothing() {
        let row = Row::new(label("a", "", Some("peer")), &Goal::AtLeast(1.0), &[]);
        assert_eq!((row.ours, row.ratio, row.met), (None, None, None));
    }

    #[test]
    fn merging_replaces_by_id_variant_and_peer_and_keeps_the_rest() {
        let row = |id, variant, peer, ours| {
            Row::new(label(id, variant, peer), &Goal::Reported, &[Round { ours, theirs: None }])
        };
        let foreign = serde_json::json!({"id": "sim.a1", "variant": "x", "peer": null, "extra": 1});
        let mut entries = vec![foreign.clone()];
        let first =
            [row("a", "x", None, 1.0), row("a", "x", Some("p"), 2.0), row("a", "y", None, 3.0)];
        merge(&mut entries, &first).unwrap();
        merge(&mut entries, &[row("a", "x", Some("p"), 9.0), row("b", "x", None, 4.0)]).unwrap();
        assert_eq!(entries[0], foreign);
        let ours: Vec<_> = rows(&entries).into_iter().map(|row| row.ours.unwrap()).collect();
        assert_eq!(ours, [1.0, 9.0, 3.0, 4.0]);
    }

    #[test]
    fn a_report_is_read_as_it_was_saved_and_a_broken_one_is_refused() {
        let dir = std::env::temp_dir().join(format!("bucket-peers-report-{}", std::process::id()));
        let path = dir.join("deep/report.json");
        assert!(load(&path).unwrap().is_empty(), "there is none yet");
        let mut entries = Vec::new();
        let row = Row::new(
            label("a", "x", None),
            &Goal::Reported,
            &[Round { ours: 0.1 + 0.2, theirs: None }],
        );
        merge(&mut entries, std::slice::from_ref(&row)).unwrap();
        save(&path, &entries).unwrap();
        assert_eq!(rows(&load(&path).unwrap()), [row]);
        fs::write(&path, "[{\"id\":").unwrap();
        assert!(load(&path).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
