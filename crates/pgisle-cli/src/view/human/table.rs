//! Tables with aligned columns.

/// One column.
pub(crate) struct Column {
    heading: &'static str,
    right: bool,
}

/// A column of words.
pub(crate) const fn left(heading: &'static str) -> Column {
    Column { heading, right: false }
}

/// A column of numbers.
pub(crate) const fn right(heading: &'static str) -> Column {
    Column { heading, right: true }
}

/// Renders rows under headings. Cells may be coloured; a cell that is missing is empty.
pub(crate) fn render(columns: &[Column], rows: &[Vec<String>]) -> String {
    let empty = String::new();
    let cell = |row: &Vec<String>, index: usize| row.get(index).unwrap_or(&empty).clone();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| rows.iter().map(|row| width(&cell(row, index))).chain([width(column.heading)]).max().unwrap_or(0))
        .collect();
    let line = |cells: Vec<String>| {
        let mut line = String::new();
        for (index, (text, column)) in cells.iter().zip(columns).enumerate() {
            let gap = " ".repeat(widths[index].saturating_sub(width(text)));
            line.push_str("  ");
            line.push_str(&if column.right { format!("{gap}{text}") } else { format!("{text}{gap}") });
        }
        format!("{}\n", line.trim_end())
    };
    let headings = columns.iter().map(|column| super::style::paint(super::style::STRONG, column.heading)).collect();
    let body = rows.iter().map(|row| line((0..columns.len()).map(|index| cell(row, index)).collect()));
    std::iter::once(line(headings)).chain(body).collect()
}

/// How many characters a cell shows.
pub(crate) fn width(cell: &str) -> usize {
    anstream::adapter::strip_str(cell).to_string().chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::human::style::{GOOD, paint};

    #[test]
    fn columns_are_aligned_whatever_their_colour() {
        let rows = [vec!["users".to_owned(), paint(GOOD, "30")], vec!["ai".to_owned(), "5".to_owned()], vec!["x".to_owned()]];
        let table = render(&[left("service"), right("pool")], &rows);
        let expected = "  service  pool\n  users      30\n  ai          5\n  x\n";
        assert_eq!(anstream::adapter::strip_str(&table).to_string(), expected);
    }
}
