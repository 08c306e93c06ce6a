//! [`Svg`]: just enough of the format for a chart.

use std::fmt::Write;

/// A drawing of fixed size. Coordinates are pixels from the top left corner.
#[derive(Debug)]
pub(crate) struct Svg {
    body: String,
    width: f64,
    height: f64,
}

/// Which end of a text lies at its coordinates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Anchor {
    End,
    Middle,
    Start,
}

impl Svg {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        let mut svg = Self { body: String::new(), width, height };
        svg.rect((0.0, 0.0), (width, height), "#ffffff");
        svg
    }

    pub(crate) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), fill: &str) {
        self.push(&format!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}"/>"#
        ));
    }

    pub(crate) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str) {
        self.push(&format!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{stroke}"/>"#
        ));
    }

    /// A line through `points`, `width` pixels wide.
    pub(crate) fn polyline(
        &mut self,
        points: impl IntoIterator<Item = (f64, f64)>,
        stroke: &str,
        width: f64,
    ) {
        let mut list = String::new();
        for (x, y) in points {
            write!(list, "{x:.1},{y:.1} ").expect("a string takes everything");
        }
        let list = list.trim_end();
        self.push(&format!(
            r#"<polyline points="{list}" fill="none" stroke="{stroke}" stroke-width="{width}" stroke-linejoin="round"/>"#
        ));
    }

    pub(crate) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, size: u32, text: &str) {
        self.push_text((x, y), anchor, size, text, "");
    }

    /// A text that reads from bottom to top.
    pub(crate) fn upright_text(&mut self, (x, y): (f64, f64), size: u32, text: &str) {
        let turn = format!(r#" transform="rotate(-90 {x:.1} {y:.1})""#);
        self.push_text((x, y), Anchor::Middle, size, text, &turn);
    }

    pub(crate) fn finish(self) -> String {
        let Self { body, width, height } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\">\n{body}</svg>\n"
        )
    }

    fn push_text(&mut self, (x, y): (f64, f64), anchor: Anchor, size: u32, text: &str, more: &str) {
        let anchor = match anchor {
            Anchor::End => "end",
            Anchor::Middle => "middle",
            Anchor::Start => "start",
        };
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        self.push(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\" \
             fill=\"#333333\"{more}>{text}</text>"
        ));
    }

    fn push(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out_of_its_element() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 2.0), Anchor::End, 9, "a < b & c");
        let text = svg.finish();
        assert!(text.contains(">a &lt; b &amp; c</text>"), "{text}");
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }
}
