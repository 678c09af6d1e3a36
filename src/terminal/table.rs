//! Tables: aligned with a head on a terminal; in a pipe without head, a tab between cells, for `cut` and `awk`.

use super::stdout_is_terminal;

/// Returns the lines of a table, in the format for the present standard output.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    if stdout_is_terminal() {
        aligned(head, rows)
    } else {
        rows.iter().map(|row| row.join("\t")).collect()
    }
}

fn aligned<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let widths: Vec<usize> = (0..N)
        .map(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    all()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each column is as wide as its widest cell, counted in characters.
    #[test]
    fn columns_line_up() {
        let rows = [["ä".to_owned(), "x".to_owned()], ["bcd".to_owned(), String::new()]];
        assert_eq!(aligned(["A", "LONG"], &rows), ["A    LONG", "ä    x", "bcd"]);
    }
}
