//! Gives the columns of an answer different names.
//!
//! A join may have several columns of one name, from different tables. Readers of an answer know columns by name only:
//! of several with one name, some readers keep the last, and some fail. So these columns get the names of their tables,
//! as in `l.body` and `r.body`.

use std::collections::{HashMap, HashSet};

use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

/// Returns `plan` with different names for all columns.
pub(crate) fn distinct(plan: LogicalPlan) -> Result<LogicalPlan> {
    let columns: Vec<(Option<&str>, &str)> = plan
        .schema()
        .iter()
        .map(|(table, field)| (table.map(|table| table.table()), field.name().as_str()))
        .collect();
    let names = column_names(&columns);
    if columns.iter().zip(&names).all(|((_, before), after)| before == after) {
        return Ok(plan);
    }
    let columns: Vec<Expr> = plan
        .schema()
        .iter()
        .zip(names)
        .map(|((table, field), name)| Expr::Column(Column::new(table.cloned(), field.name())).alias(name))
        .collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// Returns the new names of columns of which table and name are given: the name if it is unique, else table and name,
/// and with a number if that is not unique either.
fn column_names(columns: &[(Option<&str>, &str)]) -> Vec<String> {
    let mut count: HashMap<&str, usize> = HashMap::new();
    for (_, name) in columns {
        *count.entry(name).or_default() += 1;
    }
    // Unique names are reserved first, so that no column with a table's name added gets one of them.
    let mut taken: HashSet<String> = columns
        .iter()
        .filter(|(_, name)| count[name] == 1)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    let mut name_of = |(table, name): &(Option<&str>, &str)| {
        if count[name] == 1 {
            return (*name).to_owned();
        }
        let full = table.map_or_else(|| (*name).to_owned(), |table| format!("{table}.{name}"));
        let numbered = (2..).map(|number| format!("{full}_{number}"));
        let free = std::iter::once(full.clone())
            .chain(numbered)
            .find(|name| !taken.contains(name));
        let free = free.unwrap_or(full);
        taken.insert(free.clone());
        free
    };
    columns.iter().map(&mut name_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A unique name is kept. Others get the name of their table, and a number if that name is in use too.
    #[test]
    fn equal_names_become_different() {
        let columns = [
            (Some("l"), "seq"),
            (Some("r"), "seq"),
            (Some("r"), "body"),
            (None, "l.seq"),
            (None, "n"),
            (None, "n"),
        ];
        assert_eq!(
            column_names(&columns),
            ["l.seq_2", "r.seq", "body", "l.seq", "n", "n_2"]
        );
        let alone = [(Some("l"), "seq"), (Some("r"), "body")];
        assert_eq!(column_names(&alone), ["seq", "body"]);
    }
}
