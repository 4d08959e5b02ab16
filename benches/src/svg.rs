//! A curve as a picture: throughput and latency over workers, and where the adaptive limit settled.

use std::fmt::Write as _;

/// What was measured with one number of workers.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub(crate) workers: f64,
    /// A second.
    pub(crate) rate: f64,
    pub(crate) latency_ms: f64,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Room for the axes.
const MARGIN: f64 = 64.0;

/// The picture, as SVG. Workers are on a logarithmic axis; both curves begin at zero.
pub(crate) fn curve(title: &str, points: &[Point], settled: Point) -> String {
    let most = |value: fn(&Point) -> f64| points.iter().chain([&settled]).map(value).fold(f64::MIN_POSITIVE, f64::max);
    let (rate_most, latency_most, workers_most) = (most(|point| point.rate), most(|point| point.latency_ms), most(|point| point.workers));
    let x = |workers: f64| MARGIN + workers.max(1.0).log2() / workers_most.max(2.0).log2() * (WIDTH - 2.0 * MARGIN);
    let y = |part: f64| HEIGHT - MARGIN - part * (HEIGHT - 2.0 * MARGIN);
    let line = |value: &dyn Fn(&Point) -> f64| -> String {
        points.iter().map(|point| format!("{:.1},{:.1} ", x(point.workers), y(value(point)))).collect()
    };
    let (rates, latencies) = (line(&|point| point.rate / rate_most), line(&|point| point.latency_ms / latency_most));
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"15\">Draining into one shard in PostgreSQL: {title}</text>\n\
         <polyline points=\"{rates}\" fill=\"none\" stroke=\"#0b6e4f\" stroke-width=\"2\"/>\n\
         <polyline points=\"{latencies}\" fill=\"none\" stroke=\"#b3541e\" stroke-width=\"2\" stroke-dasharray=\"6 4\"/>\n"
    );
    let (left, right, bottom) = (MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN);
    let _ = write!(
        picture,
        "<path d=\"M{left} {MARGIN}V{bottom}H{right}V{MARGIN}\" fill=\"none\" stroke=\"#444\"/>\n\
         <text x=\"{left}\" y=\"54\" fill=\"#0b6e4f\">writes/s, at most {rate_most:.0}</text>\n\
         <text x=\"{right}\" y=\"54\" fill=\"#b3541e\" text-anchor=\"end\">ms a batch, at most {latency_most:.1}</text>\n"
    );
    for point in points {
        let _ = writeln!(
            picture,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(point.workers),
            bottom + 18.0,
            point.workers
        );
    }
    let (at, height) = (x(settled.workers), y(settled.rate / rate_most));
    let _ = write!(
        picture,
        "<path d=\"M{at:.1} {MARGIN}V{bottom}\" stroke=\"#333\" stroke-dasharray=\"2 3\"/>\n\
         <circle cx=\"{at:.1}\" cy=\"{height:.1}\" r=\"5\" fill=\"#0b6e4f\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">workers at once; adaptive: {} ({:.0}/s)</text>\n</svg>\n",
        WIDTH / 2.0,
        HEIGHT - 16.0,
        settled.workers,
        settled.rate
    );
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_a_place_for_each_point_and_for_the_limit() {
        let point = |workers, rate| Point { workers, rate, latency_ms: 10.0 / rate };

        let picture = curve("a test", &[point(1.0, 10.0), point(2.0, 40.0), point(4.0, 20.0)], point(2.0, 38.0));

        let rates = picture.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
        let places: Vec<&str> = rates.split_whitespace().collect();
        // The best rate is at the top, half of the logarithmic way from one to four.
        assert_eq!((places.len(), places[1]), (3, "320.0,64.0"));
        assert!(picture.contains("adaptive: 2 (38/s)") && picture.ends_with("</svg>\n"));
    }
}
