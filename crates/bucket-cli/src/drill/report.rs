//! What a drill says: lines for people, lines for machines, a receipt and a picture.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;
use serde_json::{Value, json};

use super::DrillArgs;
use super::oracle::{Oracle, Violation, Wrong};
use super::plan::Phase;
use super::server::FaultCounts;

/// What came of a drill.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    /// In seconds.
    pub(crate) duration: u64,
    pub(crate) acknowledged: u64,
    pub(crate) lost: u64,
    pub(crate) wrong_content: u64,
    pub(crate) resurrected: u64,
    pub(crate) order: u64,
    pub(crate) read_your_writes: u64,
    pub(crate) kills: u64,
    /// How often the worker ended by itself.
    pub(crate) crashes: u64,
    pub(crate) recoveries: Vec<Duration>,
    /// `None` when it was not drained.
    pub(crate) drain: Option<Duration>,
    /// What else keeps the drill from being a success.
    pub(crate) trouble: Option<String>,
    pub(crate) operations: u64,
    pub(crate) reads: u64,
    /// What the remote has applied.
    pub(crate) mutations: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) faults: FaultCounts,
    pub(crate) phases: Vec<(Duration, Phase)>,
    pub(crate) killed_at: Vec<Duration>,
    pub(crate) timeline: Vec<Second>,
    pub(crate) violations: Vec<Violation>,
    /// All that is known about the keys of the first violations.
    pub(crate) evidence: BTreeMap<String, Vec<String>>,
    /// The directory of the bucket, kept after a failure.
    pub(crate) kept: Option<PathBuf>,
}

/// One second of a drill.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Second {
    pub(crate) second: u64,
    pub(crate) acks: u64,
    pub(crate) pending: u64,
    pub(crate) phase: &'static str,
    pub(crate) kills: u64,
}

impl Outcome {
    pub(crate) fn count(&mut self, oracle: &Oracle) {
        self.acknowledged = oracle.acknowledged();
        self.lost = oracle.count(Wrong::Lost);
        self.wrong_content = oracle.count(Wrong::Content);
        self.resurrected = oracle.count(Wrong::Resurrected);
        self.order = oracle.count(Wrong::Order);
        self.read_your_writes = oracle.count(Wrong::ReadYourWrites);
    }

    /// Whether every verdict holds. A drill that acknowledged nothing has shown nothing.
    pub(crate) fn holds(&self) -> bool {
        let violations =
            self.lost + self.wrong_content + self.resurrected + self.order + self.read_your_writes;
        violations == 0
            && self.crashes == 0
            && self.trouble.is_none()
            && self.drain.is_some()
            && self.acknowledged > 0
    }

    fn recovery(&self) -> Option<(Duration, Duration)> {
        let mut sorted = self.recoveries.clone();
        sorted.sort();
        Some((*sorted.get(sorted.len() / 2)?, *sorted.last()?))
    }

    /// The verdicts, one a line.
    fn lines(&self) -> Vec<String> {
        let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
        let recover = self.recovery().map_or_else(
            || "unknown".into(),
            |(p50, max)| format!("p50 {} max {}", seconds(p50), seconds(max)),
        );
        let drain = self.drain.map_or_else(|| "not drained".into(), seconds);
        let mut lines = vec![
            format!("acknowledged {}", self.acknowledged),
            format!("lost {}", self.lost),
            format!("wrong content {}", self.wrong_content),
            format!("resurrected deletes {}", self.resurrected),
            format!("order violations {}", self.order),
            format!("read-your-writes violations {}", self.read_your_writes),
            format!("kills {}", self.kills),
            format!("time to recover {recover}"),
            format!("time to drain {drain}"),
        ];
        if self.crashes > 0 {
            lines.push(format!("worker crashes {}", self.crashes));
        }
        lines.extend(self.trouble.clone());
        lines
    }

    fn verdict(&self) -> Value {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let recovery = self.recovery();
        json!({
            "v": 1,
            "type": "verdict",
            "ok": self.holds(),
            "seed": self.seed,
            "duration_s": self.duration,
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "wrong_content": self.wrong_content,
            "resurrected_deletes": self.resurrected,
            "order_violations": self.order,
            "read_your_writes_violations": self.read_your_writes,
            "kills": self.kills,
            "worker_crashes": self.crashes,
            "recover_ms_p50": recovery.map(|(p50, _)| millis(p50)),
            "recover_ms_max": recovery.map(|(_, max)| millis(max)),
            "drain_ms": self.drain.map(millis),
            "trouble": self.trouble,
            "operations": self.operations,
            "reads": self.reads,
            "remote_mutations": self.mutations,
            "bytes": self.sent_bytes,
            "errors": self.errors,
            "faults": self.faults,
            "violations": self.violations.iter().map(|violation| json!({
                "verdict": name(violation.wrong),
                "key": violation.key,
                "what": violation.what,
            })).take(100).collect::<Vec<_>>(),
            "kept": self.kept,
            "lines": self.lines(),
        })
    }
}

/// Says which drill this is, so that it can be repeated whatever comes.
pub(crate) fn start(seed: u64, args: &DrillArgs) {
    if args.json {
        let duration = args.duration;
        say(&json!({"v": 1, "type": "start", "seed": seed, "duration_s": duration}).to_string());
    } else {
        say(&format!("seed {seed}"));
    }
}

/// Something that happened, for machines.
pub(crate) fn event(json: bool, kind: &str, at: Duration, what: &str) {
    if json {
        let at_ms = at.as_millis() as u64;
        say(&json!({"v": 1, "type": kind, "at_ms": at_ms, "what": what}).to_string());
    }
}

/// The end of a drill that could not begin.
pub(crate) fn set_up_failed(why: &str, seed: u64, args: &DrillArgs) -> ExitCode {
    if args.json {
        let verdict = json!({"v": 1, "type": "verdict", "ok": false, "seed": seed, "set_up": why});
        say(&verdict.to_string());
    }
    complain(&format!("error[set_up]: the drill could not begin: {why}"));
    ExitCode::from(2)
}

/// The verdicts that do not hold.
#[cfg(bucket_planted)]
pub(crate) fn failed(outcome: &Outcome) -> Vec<String> {
    let expected = Outcome::default().lines();
    let lines = outcome.lines().into_iter().zip(expected);
    let counts = lines.skip(1).take(5).filter(|(line, zero)| line != zero).map(|(line, _)| line);
    counts.chain(outcome.trouble.clone()).collect()
}

/// Says what came of it, and writes the receipt.
pub(crate) fn finish(outcome: &Outcome, args: &DrillArgs) -> ExitCode {
    let receipt = match &args.report {
        Some(dir) => write_files(dir, outcome).map_err(|error| (dir, error)),
        None => Ok(()),
    };
    if !args.json {
        say(&summary(outcome));
    }
    // The receipt has more; a terminal has enough with this.
    for (key, evidence) in outcome.evidence.iter().take(3) {
        let wrong = outcome.violations.iter().filter(|violation| violation.key == *key);
        for violation in wrong.take(3) {
            complain(&format!("{}: {key}: {}", name(violation.wrong), violation.what));
        }
        evidence.iter().for_each(|line| complain(&format!("    {line}")));
    }
    if let Some(kept) = &outcome.kept {
        complain(&format!("the bucket is kept in {}", kept.display()));
    }
    if let Err((dir, error)) = &receipt {
        complain(&format!("error[report]: cannot write to {}: {error}", dir.display()));
    }
    if args.json {
        say(&outcome.verdict().to_string());
    } else {
        outcome.lines().iter().for_each(|line| say(line));
    }
    match (outcome.holds(), receipt) {
        (false, _) => ExitCode::from(7),
        (true, Err(_)) => ExitCode::from(2),
        (true, Ok(())) => ExitCode::SUCCESS,
    }
}

fn summary(outcome: &Outcome) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["what", "count"]);
    let faults = &outcome.faults;
    let megabytes = format!("{:.1} MB", outcome.sent_bytes as f64 / 1e6);
    let rows = [
        ("operations", outcome.operations.to_string()),
        ("content sent", megabytes),
        ("reads that answered", outcome.reads.to_string()),
        ("requests at the remote", faults.requests.to_string()),
        ("applied", outcome.mutations.to_string()),
        ("refused, remote down", faults.refused.to_string()),
        ("throttled", faults.throttled.to_string()),
        ("held back 0.2 to 1.5 s", faults.delayed.to_string()),
        ("applied, reply lost", faults.replies_lost.to_string()),
        ("applied after a kill", faults.applied_after_kill.to_string()),
        ("dropped, too late", faults.expired.to_string()),
    ];
    for (what, count) in rows {
        table.add_row([what, count.as_str()]);
    }
    for (error, count) in &outcome.errors {
        table.add_row([format!("error, {error}"), count.to_string()]);
    }
    table.to_string()
}

fn write_files(dir: &Path, outcome: &Outcome) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let millis = |time: &Duration| time.as_millis() as u64;
    let receipt = json!({
        "v": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "verdict": outcome.verdict(),
        "timeline": outcome.timeline,
        "phases": outcome.phases.iter().map(|(at, phase)| json!({
            "at_ms": millis(at),
            "phase": phase.name(),
        })).collect::<Vec<_>>(),
        "kills_ms": outcome.killed_at.iter().map(millis).collect::<Vec<_>>(),
        "recoveries_ms": outcome.recoveries.iter().map(millis).collect::<Vec<_>>(),
        "evidence": outcome.evidence,
    });
    let mut text = serde_json::to_string_pretty(&receipt)?;
    text.push('\n');
    std::fs::write(dir.join("drill.json"), text)?;
    std::fs::write(dir.join("drill.svg"), draw(outcome))
}

/// The timeline: acknowledgements a second as bars, phases as bands, kills as lines.
fn draw(outcome: &Outcome) -> String {
    let seconds = (outcome.timeline.len() as f64).max(1.0);
    let peak = outcome.timeline.iter().map(|second| second.acks).max().unwrap_or(0).max(1) as f64;
    let waiting = outcome.timeline.iter().map(|s| s.pending).max().unwrap_or(0).max(1) as f64;
    let x = |at: f64| LEFT + at / seconds * WIDTH;
    let y = |share: f64| TOP + HEIGHT * (1.0 - share);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 340\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"960\" height=\"340\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"20\">bucket drill, seed {}: {} acknowledged, {} lost, {} kills</text>\n",
        outcome.seed, outcome.acknowledged, outcome.lost, outcome.kills
    );
    // Writing to a String cannot fail.
    let mut add = |text: std::fmt::Arguments<'_>| {
        let _ = svg.write_fmt(text);
    };
    let ends = outcome.phases.iter().skip(1).map(|(at, _)| at.as_secs_f64()).chain([seconds]);
    for ((at, phase), end) in outcome.phases.iter().zip(ends) {
        let (from, to) = (x(at.as_secs_f64()), x(end.min(seconds)));
        add(format_args!(
            "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{HEIGHT}\" fill=\"{}\">\
             <title>{}</title></rect>\n",
            (to - from).max(0.0),
            color(*phase),
            phase.name()
        ));
    }
    for second in &outcome.timeline {
        let top = y(second.acks as f64 / peak);
        add(format_args!(
            "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#33658a\" \
             fill-opacity=\"0.75\"/>\n",
            x(second.second as f64) + 1.0,
            (WIDTH / seconds - 2.0).max(0.5),
            TOP + HEIGHT - top
        ));
    }
    let points = outcome.timeline.iter().map(|second| {
        let middle = x(second.second as f64 + 0.5);
        format!("{middle:.1},{:.1}", y(second.pending as f64 / waiting))
    });
    let points = points.collect::<Vec<_>>().join(" ");
    add(format_args!(
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"#222\" stroke-width=\"1.5\"/>\n"
    ));
    for at in &outcome.killed_at {
        let at = x(at.as_secs_f64().min(seconds));
        add(format_args!(
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\" stroke=\"#c1121f\" \
             stroke-width=\"2\"/>\n",
            TOP + HEIGHT
        ));
    }
    add(format_args!(
        "<text x=\"{LEFT}\" y=\"298\">0 s</text><text x=\"910\" y=\"298\" text-anchor=\"end\">\
         {seconds} s</text>\n<text x=\"{LEFT}\" y=\"38\" fill=\"#555\">bars: acknowledgements a second, \
         up to {peak}; black line: pending, up to {waiting}; red: SIGKILL</text>\n"
    ));
    let all = [Phase::Healthy, Phase::Down, Phase::Slow, Phase::Lost, Phase::Throttled];
    for (n, phase) in all.into_iter().enumerate() {
        let at = LEFT + n as f64 * 130.0;
        add(format_args!(
            "<rect x=\"{at}\" y=\"310\" width=\"14\" height=\"14\" fill=\"{}\" stroke=\"#999\"/>\
             <text x=\"{:.1}\" y=\"322\">{}</text>\n",
            color(phase),
            at + 20.0,
            phase.name()
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

const fn color(phase: Phase) -> &'static str {
    match phase {
        Phase::Down => "#f4acb7",
        Phase::Healthy => "#e9f5e9",
        Phase::Lost => "#d8c4f0",
        Phase::Slow => "#ffe8a3",
        Phase::Throttled => "#c7e3f4",
    }
}

const fn name(wrong: Wrong) -> &'static str {
    match wrong {
        Wrong::Content => "wrong content",
        Wrong::Lost => "lost",
        Wrong::Order => "order violation",
        Wrong::ReadYourWrites => "read-your-writes violation",
        Wrong::Resurrected => "resurrected delete",
    }
}

/// A line on stdout. When its reader has gone, the exit code still tells.
fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

const LEFT: f64 = 50.0;
const WIDTH: f64 = 860.0;
const TOP: f64 = 50.0;
const HEIGHT: f64 = 230.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Outcome {
        Outcome {
            acknowledged: 10,
            kills: 2,
            drain: Some(Duration::from_millis(2_500)),
            recoveries: vec![Duration::from_millis(30), Duration::from_millis(10)],
            ..Outcome::default()
        }
    }

    #[test]
    fn every_count_alone_makes_the_drill_fail() {
        assert!(good().holds());
        let breaks: [fn(&mut Outcome); 9] = [
            |o| o.lost = 1,
            |o| o.wrong_content = 1,
            |o| o.resurrected = 1,
            |o| o.order = 1,
            |o| o.read_your_writes = 1,
            |o| o.crashes = 1,
            |o| o.drain = None,
            |o| o.trouble = Some("x".into()),
            |o| o.acknowledged = 0,
        ];
        for break_it in breaks {
            let mut outcome = good();
            break_it(&mut outcome);
            assert!(!outcome.holds(), "{outcome:?}");
            assert_eq!(outcome.verdict()["ok"], false);
        }
    }

    #[test]
    fn the_lines_are_exactly_these() {
        let lines = [
            "acknowledged 10",
            "lost 0",
            "wrong content 0",
            "resurrected deletes 0",
            "order violations 0",
            "read-your-writes violations 0",
            "kills 2",
            "time to recover p50 0.030 s max 0.030 s",
            "time to drain 2.500 s",
        ];
        assert_eq!(good().lines(), lines);
    }

    #[test]
    fn the_picture_of_an_empty_drill_is_still_a_picture() {
        let svg = draw(&Outcome::default());
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
