//! The table for the terminal: a line for each outage and figure, median and worst side by side.

use crate::Contender;
use crate::figures::{Metric, Outage, median};

pub(crate) fn table(outages: &[Outage]) -> String {
    let mut names = format!("{:<23}", "");
    let mut heads = format!("{:<8}{:<15}", "outage", "figure");
    for contender in Contender::ALL {
        names += &format!("{:^22}", contender.name());
        heads += &format!("{:>10}{:>10}  ", "median", "worst");
    }
    let mut lines = vec![names.trim_end().to_owned(), heads + "goal for bucket-kit"];
    for outage in outages {
        for metric in Metric::ALL {
            lines.push(line(outage, metric));
        }
        lines.push(String::new());
    }
    lines.join("\n")
}

fn line(outage: &Outage, metric: Metric) -> String {
    let first = metric == Metric::Waste;
    let label = if first { format!("{} s", outage.length.as_secs()) } else { String::new() };
    let mut line = format!("{label:<8}{:<15}", metric.name());
    for contender in Contender::ALL {
        let values = outage.values(contender, metric);
        let (median, worst) = (median(&values), metric.worst(&values));
        line += &format!("{:>10}{:>10}  ", metric.show(median), metric.show(worst));
    }
    if let Some((goal, worst_goal)) = metric.goal() {
        let values = outage.values(Contender::Ours, metric);
        let met = |value, bound| if value <= bound { "met" } else { "MISSED" };
        line += &format!(
            "<= {} {}, worst <= {} {}",
            metric.show(goal),
            met(median(&values), goal),
            bound(metric, worst_goal),
            met(metric.worst(&values), worst_goal),
        );
    }
    line.trim_end().to_owned()
}

/// With the digits that a quarter more than a goal has.
fn bound(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Waste => format!("{:.2} %", value * 100.0),
        Metric::Peak => format!("{value:.3} x"),
        _ => metric.show(value),
    }
}
