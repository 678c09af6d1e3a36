use super::*;
use crate::examples::{FLOOR, LEFT, RIGHT, ROOF, component};

fn table(descriptions: &[Description]) -> Result<Table<()>, TableError> {
    let entries: Vec<Entry<()>> = descriptions.iter().copied().map(Entry::described).collect();
    Table::new(&entries)
}

fn names(table: &Table<()>) -> Vec<&'static str> {
    table.iter().map(Entry::name).collect()
}

/// A component comes after all that it needs, and as soon as that is so in the order of the table.
#[test]
fn a_component_starts_after_what_it_needs() {
    let order = table(&[ROOF, LEFT, FLOOR, RIGHT]).unwrap().start_order();
    let order: Vec<_> = order.iter().map(Entry::name).collect();
    assert_eq!(order, ["floor", "left", "right", "roof"]);
}

/// A choice brings along what it needs, also through others, and nothing else; a group stands for its members.
#[test]
fn a_choice_brings_along_what_it_needs() {
    let table = table(&[ROOF, LEFT, FLOOR, RIGHT]).unwrap();
    assert_eq!(names(&table.only(&["left"]).unwrap()), ["left", "floor"]);
    assert_eq!(
        names(&table.only(&["roof"]).unwrap()),
        ["roof", "left", "floor", "right"]
    );
    assert_eq!(names(&table.only(&["base"]).unwrap()), ["floor"]);
    assert_eq!(names(&table.only(&["upper"]).unwrap()).len(), 4);
    let unknown = table.only(&["attic"]).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "component `attic`: there is none, nor a group of that name"
    );
    assert_eq!(
        unknown.hint().unwrap(),
        "choose from base, upper, roof, left, floor, right"
    );
}

/// A table that contradicts itself is refused with the component that does.
#[test]
fn a_table_that_contradicts_itself_is_refused() {
    let refused = |descriptions: &[Description]| table(descriptions).unwrap_err().to_string();
    assert_eq!(
        refused(&[LEFT]),
        "component `left`: needs `floor`, which is not in the table"
    );
    assert_eq!(
        refused(&[FLOOR, FLOOR]),
        "component `floor`: its name is taken by another component"
    );
    let other = |key, default| Description {
        ports: Box::leak(Box::new([Port::plain(key, default)])),
        ..component("other", &[], &[])
    };
    assert_eq!(
        refused(&[FLOOR, other("floor", 9)]),
        "component `other`: port `floor` is taken by another component"
    );
    assert_eq!(
        refused(&[FLOOR, other("own", 0)]),
        "component `other`: port 0 is taken by another component"
    );
    assert_eq!(
        refused(&[component("deaf", &[], &[])]),
        "component `deaf`: has no port or no server name"
    );
    let circle = Description {
        needs: &["roof"],
        ..FLOOR
    };
    assert_eq!(
        refused(&[ROOF, LEFT, circle, RIGHT]),
        "components roof, left, floor, right: need each other in a circle"
    );
}
