//! The chart of an outage: calls a second above, success below, a column for each length.

use std::ops::Range;
use std::time::Duration;

use bucket_sim::Bin;

use crate::Contender;
use crate::svg::{Anchor, Svg};

/// One column: when the service was down, and what each contender did in each second.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) fault: Range<Duration>,
    pub(crate) lines: [(Contender, Vec<Bin>); 3],
}

pub(crate) fn chart(panels: &[Panel]) -> String {
    let width = LEFT + panels.len() as f64 * (PLOT.0 + GAP) + RIGHT;
    let mut svg = Svg::new(width, HEIGHT);
    svg.text((LEFT, 26.0), Anchor::Start, 17, "A1: the service is down and a call fails in 5 ms");
    let below = "100 clients, 10 requests/s each; one run (seed 1) for each length of outage";
    svg.text((LEFT, 46.0), Anchor::Start, 12, below);
    legend(&mut svg, width - RIGHT - GAP);
    svg.upright_text((18.0, TOP + PLOT.1 / 2.0), 13, "calls that reach the service, per second");
    let lower = TOP + PLOT.1 + BETWEEN;
    svg.upright_text((18.0, lower + PLOT.1 / 2.0), 13, "requests made then that succeed, %");

    let most = panels.iter().flat_map(|panel| &panel.lines).flat_map(|(_, bins)| bins);
    let most = most.map(|bin| bin.calls).max().unwrap_or(0);
    // Up to the next half thousand, with room for the highest point.
    let top_calls = (most / 500 + 1) * 500;
    for (n, panel) in panels.iter().enumerate() {
        let x = LEFT + n as f64 * (PLOT.0 + GAP);
        let length = (panel.fault.end - panel.fault.start).as_secs();
        let title = format!("down for {length} s");
        svg.text((x + PLOT.0 / 2.0, TOP - 10.0), Anchor::Middle, 13, &title);
        let calls = Plot { at: (x, TOP), top: top_calls as f64, step: 500.0 };
        calls.draw(&mut svg, panel, n == 0, |bin| Some(bin.calls as f64));
        let success = Plot { at: (x, lower), top: 100.0, step: 25.0 };
        success.draw(&mut svg, panel, n == 0, |bin| {
            (bin.requests > 0).then(|| bin.succeeded as f64 * 100.0 / bin.requests as f64)
        });
        svg.text((x + PLOT.0 / 2.0, lower + PLOT.1 + 36.0), Anchor::Middle, 13, "time, s");
    }
    svg.finish()
}

fn legend(svg: &mut Svg, right: f64) {
    let mut x = right - 510.0;
    for contender in Contender::ALL {
        svg.polyline([(x, 32.0), (x + 26.0, 32.0)], colour(contender), 3.0);
        svg.text((x + 33.0, 36.0), Anchor::Start, 13, contender.name());
        x += 126.0;
    }
    svg.rect((x, 22.0), (26.0, 18.0), FAULT);
    svg.text((x + 33.0, 36.0), Anchor::Start, 13, "service down");
}

/// One system of axes.
#[derive(Debug)]
struct Plot {
    at: (f64, f64),
    /// The value at its upper edge; the lower one is 0.
    top: f64,
    step: f64,
}

impl Plot {
    fn draw(
        &self,
        svg: &mut Svg,
        panel: &Panel,
        with_labels: bool,
        value: impl Fn(&Bin) -> Option<f64>,
    ) {
        let (left, top) = self.at;
        let (right, bottom) = (left + PLOT.0, top + PLOT.1);
        let (from, to) = (self.x(panel.fault.start), self.x(panel.fault.end));
        svg.rect((from, top), (to - from, PLOT.1), FAULT);
        let mut tick = 0.0;
        while tick <= self.top {
            let y = self.y(tick);
            svg.line((left, y), (right, y), if tick == 0.0 { AXIS } else { GRID });
            if with_labels {
                svg.text((left - 8.0, y + 4.0), Anchor::End, 12, &format!("{tick:.0}"));
            }
            tick += self.step;
        }
        svg.line((left, top), (left, bottom), AXIS);
        for second in (0..=240).step_by(60) {
            let x = self.x(Duration::from_secs(second));
            svg.line((x, bottom), (x, bottom + 5.0), AXIS);
            svg.text((x, bottom + 19.0), Anchor::Middle, 12, &second.to_string());
        }
        // Ours last and widest, so that it lies above the others.
        for (contender, bins) in panel.lines.iter().rev() {
            let middle = Duration::from_millis(500);
            let points = bins
                .iter()
                .filter_map(|bin| Some((self.x(bin.start + middle), self.y(value(bin)?))));
            let width = if *contender == Contender::Ours { 2.2 } else { 1.6 };
            svg.polyline(points, colour(*contender), width);
        }
    }

    fn x(&self, time: Duration) -> f64 {
        self.at.0 + time.as_secs_f64() / SECONDS * PLOT.0
    }

    fn y(&self, value: f64) -> f64 {
        self.at.1 + PLOT.1 - value / self.top * PLOT.1
    }
}

/// Told apart also by those who do not see red and green apart.
const fn colour(contender: Contender) -> &'static str {
    match contender {
        Contender::Ours => "#0072b2",
        Contender::IpfsKit => "#d55e00",
        Contender::None => "#999999",
    }
}

const AXIS: &str = "#555555";
const BETWEEN: f64 = 50.0;
const FAULT: &str = "#f6e3e3";
const GAP: f64 = 28.0;
const GRID: &str = "#e4e4e4";
const HEIGHT: f64 = TOP + 2.0 * PLOT.1 + BETWEEN + 52.0;
const LEFT: f64 = 76.0;
const PLOT: (f64, f64) = (310.0, 220.0);
const RIGHT: f64 = 4.0;
const SECONDS: f64 = 240.0;
const TOP: f64 = 96.0;
