//! Tables for people, JSON for machines, and what both need: medians, and where and what was measured.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, ExitCode};

use serde_json::{Value, json};

use crate::{Options, Outcome};

/// Several runs of one figure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[odd / 2],
            even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
        }
    }

    fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    fn most(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }
}

/// A table being made: a line a figure.
pub(crate) struct Report {
    name: &'static str,
    lines: Vec<Line>,
    notes: Vec<String>,
}

struct Line {
    figure: String,
    unit: &'static str,
    runs: Runs,
    /// What it should be, and whether more or less is better.
    aim: Option<Aim>,
}

/// What a figure should reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

impl Aim {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, lines: Vec::new(), notes: Vec::new() }
    }

    /// Adds a run to a figure; the figures stand in the order in which they came first.
    pub(crate) fn add(&mut self, figure: &str, unit: &'static str, value: f64) {
        self.add_with_aim(figure, unit, value, None);
    }

    pub(crate) fn aim(&mut self, figure: &str, unit: &'static str, value: f64, aim: Aim) {
        self.add_with_aim(figure, unit, value, Some(aim));
    }

    fn add_with_aim(&mut self, figure: &str, unit: &'static str, value: f64, aim: Option<Aim>) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.figure == figure) {
            line.runs.add(value);
        } else {
            self.lines.push(Line { figure: figure.to_owned(), unit, runs: Runs(vec![value]), aim });
        }
    }

    /// Says something about the measurement, once.
    pub(crate) fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }

    pub(crate) fn median(&self, figure: &str) -> f64 {
        self.lines.iter().find(|line| line.figure == figure).map_or(f64::NAN, |line| line.runs.median())
    }

    fn table(&self, machine: &Value) -> String {
        let width = self.lines.iter().map(|line| line.figure.chars().count()).max().unwrap_or(0);
        let mut table =
            format!("{} · {} · {}\n", self.name, machine["commit"].as_str().unwrap_or(""), machine["processor"].as_str().unwrap_or(""));
        let _ = writeln!(table, "{:<width$}  {:>12} {:>12} {:>12}  unit", "", "median", "least", "most");
        for line in &self.lines {
            let (median, least, most) = (number(line.runs.median()), number(line.runs.least()), number(line.runs.most()));
            let verdict = line.aim.map_or(String::new(), |aim| {
                let met = if aim.is_met(line.runs.median()) { "met" } else { "MISSED" };
                match aim {
                    Aim::AtLeast(bound) => format!("  aim ≥ {} {met}", number(bound)),
                    Aim::AtMost(bound) => format!("  aim ≤ {} {met}", number(bound)),
                }
            });
            let _ = writeln!(table, "{:<width$}  {median:>12} {least:>12} {most:>12}  {}{verdict}", line.figure, line.unit);
        }
        for note in &self.notes {
            let _ = writeln!(table, "{note}");
        }
        table
    }

    fn json(&self, machine: &Value, options: &Options) -> Value {
        let figures: Vec<Value> = self
            .lines
            .iter()
            .map(|line| {
                let aim = line.aim.map(|aim| match aim {
                    Aim::AtLeast(bound) => json!({"at_least": bound, "met": aim.is_met(line.runs.median())}),
                    Aim::AtMost(bound) => json!({"at_most": bound, "met": aim.is_met(line.runs.median())}),
                });
                json!({"figure": line.figure, "unit": line.unit, "median": line.runs.median(), "least": line.runs.least(),
                    "most": line.runs.most(), "runs": line.runs.0, "aim": aim})
            })
            .collect();
        let settings =
            json!({"runs": options.runs, "seconds": options.seconds, "connections": options.connections, "entries": options.entries});
        json!({"name": self.name, "machine": machine, "settings": settings, "figures": figures, "notes": self.notes})
    }

    /// Prints the table and writes `target/bench/<name>.json`.
    pub(crate) fn publish(&self, options: &Options) -> Outcome<()> {
        let machine = machine();
        let folder = std::path::Path::new("target/bench");
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}.json", self.name));
        std::fs::write(&path, serde_json::to_string_pretty(&self.json(&machine, options))?)?;
        writeln!(std::io::stdout().lock(), "{}\n{}", self.table(&machine), path.display())?;
        Ok(())
    }
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Where it was measured, and what.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|part| part.1.trim().to_owned()));
    let git = |arguments: &[&str]| {
        Command::new("git").args(arguments).output().ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|status| !status.is_empty());
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    json!({
        "processor": processor,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "memory": read("/proc/meminfo").lines().next(),
        "commit": if changed { format!("{commit} and changes") } else { commit },
    })
}

/// What is being done now, for who waits: on standard error.
pub(crate) fn progress(what: &str) {
    // Nobody is there to read it: that is no reason to stop measuring.
    drop(writeln!(std::io::stderr().lock(), "· {what}"));
}

pub(crate) fn failed(error: &dyn std::error::Error) -> ExitCode {
    progress(&format!("failed: {error}"));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert!((Runs(vec![3.0, 1.0, 2.0]).median() - 2.0).abs() < f64::EPSILON);
        assert!((Runs(vec![4.0, 1.0, 2.0, 3.0]).median() - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_missed_aim_is_told() {
        let mut report = Report::new("test");
        report.aim("ratio", "×", 0.4, Aim::AtLeast(0.45));

        assert!(report.table(&json!({})).contains("MISSED"));
    }
}
