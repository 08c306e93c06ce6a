//! The rows of the report, merged by id, variant and peer with those that are there.

use std::path::Path;
use std::{fs, io};

use serde_json::{Value, json};

use crate::figures::{Metric, Outage, median};
use crate::{Contender, Result};

/// A row for each outage and goal. The goal bounds our own figure; the ratio is for the reader.
pub(crate) fn rows(outages: &[Outage]) -> Vec<Value> {
    let mut rows = Vec::new();
    for outage in outages {
        for metric in Metric::ALL {
            let Some((goal, worst_goal)) = metric.goal() else { continue };
            let all = |contender| outage.values(contender, metric);
            let (ours, theirs) = (all(Contender::Ours), all(Contender::IpfsKit));
            let (unit, meaning) = describe(metric);
            for (statistic, bound, pick) in [
                ("median", goal, &median as &dyn Fn(&[f64]) -> f64),
                ("worst", worst_goal, &|values: &[f64]| metric.worst(values)),
            ] {
                let (mine, peer) = (pick(&ours), pick(&theirs));
                let seconds = outage.length.as_secs();
                let rounds = ours.iter().zip(&theirs);
                rows.push(json!({
                    "id": "breaker.outage",
                    "variant": format!("A1, {seconds} s, {}, {statistic}", metric.name()),
                    "what": format!(
                        "simulated hard outage of {seconds} s: {meaning}; {statistic} of {} seeds, \
                         reads; the goal bounds our own figure",
                        ours.len(),
                    ),
                    "ours": finite(mine),
                    "unit": unit,
                    "peer": Contender::IpfsKit.name(),
                    "peer_version": PEER_VERSION,
                    "theirs": finite(peer),
                    "rounds": rounds.map(|(a, b)| [finite(*a), finite(*b)]).collect::<Vec<_>>(),
                    "ratio": finite(mine / peer),
                    "goal": format!("<={bound}"),
                    "met": mine <= bound,
                }));
            }
        }
    }
    rows
}

/// Puts `rows` into the file: in the place of those with the same id, variant and peer, or at its end.
pub(crate) fn merge(path: &Path, rows: Vec<Value>) -> Result<()> {
    let mut entries: Vec<Value> = match fs::read_to_string(path) {
        Ok(text) => {
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    for row in rows {
        match entries.iter_mut().find(|entry| key(entry) == key(&row)) {
            Some(entry) => *entry = row,
            None => entries.push(row),
        }
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let lines: Vec<_> = entries.iter().map(Value::to_string).collect();
    // Whole or not at all: others' rows are in it.
    let temporary = path.with_extension("new");
    fs::write(&temporary, format!("[\n{}\n]\n", lines.join(",\n")))?;
    Ok(fs::rename(&temporary, path)?)
}

fn key(entry: &Value) -> [Option<&str>; 3] {
    ["id", "variant", "peer"].map(|field| entry.get(field).and_then(Value::as_str))
}

fn describe(metric: Metric) -> (&'static str, &'static str) {
    match metric {
        Metric::Waste => ("calls/request", "calls made during it over requests made during it"),
        Metric::Recovery => {
            ("s", "from its end to the first of 3 seconds in a row with 99 % success")
        }
        Metric::Peak => ("x demand", "most calls in 100 ms after it over the demand"),
        Metric::Success => ("share", "requests of seconds 60 to 180 that succeeded"),
        Metric::Amplification => ("calls/request", "all calls over all requests"),
    }
}

/// `null` stands for what never came, since JSON has no infinity.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The revision of its sources after which it is modelled.
const PEER_VERSION: &str = "git 420509af, modelled";

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use crate::figures::Figures;
    use crate::scenario;

    fn outage() -> Outage {
        let length = Duration::from_secs(20);
        let scenario = scenario(length).unwrap();
        let run = |contender: Contender| {
            (contender, vec![Figures::of(&scenario, &contender.run(&scenario, 1))])
        };
        Outage { length, runs: Contender::ALL.map(run) }
    }

    #[test]
    fn a_row_has_the_fields_of_the_report_and_the_verdict_follows_from_its_figures() {
        let rows = rows(&[outage()]);
        assert_eq!(rows.len(), 6);
        for row in &rows {
            let mut fields: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
            fields.sort_unstable();
            let expected = [
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
                "what",
            ];
            assert_eq!(fields, expected);
            let bound: f64 = row["goal"].as_str().unwrap()[2..].parse().unwrap();
            assert_eq!(row["met"], row["ours"].as_f64().unwrap() <= bound, "{row}");
            assert_eq!(row["rounds"][0][0], row["ours"], "one seed");
        }
    }

    #[test]
    fn merging_replaces_its_own_rows_and_keeps_those_of_others() {
        let dir = std::env::temp_dir().join(format!("bucket-sim-report-{}", std::process::id()));
        let path = dir.join("bench/report.json");
        let row = |id, variant, peer, ours| json!({"id": id, "variant": variant, "peer": peer, "ours": ours});
        let foreign = row("pool.1t", "x", Value::Null, 1);
        merge(&path, vec![foreign.clone(), row("a", "x", json!("p"), 1)]).unwrap();
        merge(&path, vec![row("a", "x", json!("p"), 2), row("a", "y", json!("p"), 3)]).unwrap();
        let read: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read, [foreign, row("a", "x", json!("p"), 2), row("a", "y", json!("p"), 3)]);
        fs::write(&path, "[{").unwrap();
        assert!(merge(&path, Vec::new()).is_err(), "a broken report is not overwritten");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[{");
        fs::remove_dir_all(&dir).unwrap();
    }
}
