use std::cell::RefCell;

use futures::FutureExt as _;
use tokio::sync::Semaphore;

use super::*;
use crate::examples::{FLOOR, LEFT, RIGHT, ROOF};

fn table() -> Table<()> {
    Table::new(&[ROOF, LEFT, RIGHT, FLOOR].map(Entry::described)).unwrap()
}

/// Setup: every step waits until it is let on. Must hold: at each moment exactly those steps have begun whose
/// predecessors have ended, so the two in the middle run at the same time.
async fn begins(direction: Direction) -> Vec<Vec<&'static str>> {
    let table = table();
    let (begun, gate) = (RefCell::new(Vec::new()), Semaphore::new(0));
    let step = |entry: &Entry<()>| {
        begun.borrow_mut().push(entry.name());
        async { gate.acquire().await.unwrap().forget() }
    };
    let mut walk = table.walk(direction, step);
    let mut rounds = Vec::new();
    loop {
        // One poll takes in all steps that have ended.
        let ended = async { while walk.next().await.is_some() {} }.now_or_never().is_some();
        let round = begun.take();
        if ended {
            return rounds;
        }
        gate.add_permits(round.len());
        rounds.push(round);
    }
}

#[tokio::test]
async fn components_start_together_where_they_may() {
    assert_eq!(
        begins(Direction::Start).await,
        [vec!["floor"], vec!["left", "right"], vec!["roof"]]
    );
}

#[tokio::test]
async fn a_stop_is_a_start_backwards() {
    assert_eq!(
        begins(Direction::Stop).await,
        [vec!["roof"], vec!["left", "right"], vec!["floor"]]
    );
}

/// A walk that is dropped begins nothing more.
#[tokio::test]
async fn a_walk_may_be_given_up() {
    let (table, begun) = (table(), RefCell::new(Vec::new()));
    let step = |entry: &Entry<()>| {
        begun.borrow_mut().push(entry.name());
        ready(())
    };
    let mut walk = table.walk(Direction::Start, step);
    let first = walk.next().await.map(|(entry, ())| entry.name());
    drop(walk);
    assert_eq!((first, begun.take()), (Some("floor"), vec!["floor"]));
}
